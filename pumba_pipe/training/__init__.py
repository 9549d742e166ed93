"""Synthetic heads to weights."""
