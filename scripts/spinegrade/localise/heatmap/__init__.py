"""Keypoints: detectors of the graded places, their training, inference and measured error."""
