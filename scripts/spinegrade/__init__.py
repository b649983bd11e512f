"""spinegrade: spine imaging studies to graded findings, one room a folder."""

__version__ = "0.1.0"
