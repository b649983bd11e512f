"""Members' probabilities to one: the prior, weights, calibration, score and submission."""
