"""Description, boilerplate and pages of the output folder, a BIDS derivative."""
