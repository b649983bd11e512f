"""Grading crops and axial sequences that other rooms made: training, prediction."""
