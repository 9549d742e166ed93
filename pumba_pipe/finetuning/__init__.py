"""Training on labelled images of the user's own."""
