"""Masks and reference masks to scores."""
