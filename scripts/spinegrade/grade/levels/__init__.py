"""Graders of levels: what a level shows in all views, to all its grades."""
