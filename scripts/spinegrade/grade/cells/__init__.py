"""Grading crops: training by fold, out-of-fold and new predictions."""
