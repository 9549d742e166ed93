"""The BIDS-App `pumba`."""
