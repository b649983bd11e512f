"""The points of a study: networks that find them, by kind, and what turns answers to keypoints."""
