"""Regressors: networks that tell the coordinates of the graded places, without heatmaps."""
