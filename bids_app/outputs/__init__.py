"""What makes the output folder a BIDS derivative."""
