"""Annotated points held against each other: which of them cannot be, or need a look."""
