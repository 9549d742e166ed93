"""Volumes: reading, writing, grids, masks, pictures."""
