"""What every part needs, and that knows nothing of images or torch."""
