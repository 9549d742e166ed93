"""The network, the device it runs on, and its file."""
