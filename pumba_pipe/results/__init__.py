"""Results of an earlier run: what is recorded of them, and whether they are up to date."""
