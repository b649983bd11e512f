"""Crops around keypoints: which point, which stack, which pixels of patient space."""
