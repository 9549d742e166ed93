"""Scan to mask and quality record."""
