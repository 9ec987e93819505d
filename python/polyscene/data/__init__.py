"""Data: readers, roles, scenes, splits and preprocessing."""
