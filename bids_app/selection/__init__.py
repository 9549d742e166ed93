"""Which images of the data set are processed."""
