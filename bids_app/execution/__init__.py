"""Planning and running the workflows."""
