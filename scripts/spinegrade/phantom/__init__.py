"""The embedded cohorts: a parametric spine, imaged, labelled and written as the real ones are."""
