"""Losses by name, one a file, found through the registry."""
