"""Which region the studies of a cohort show; read while planning, by no stage."""

from __future__ import annotations

REGION_OF_COHORT = {
    "kaggle_rsna2024": "lumbar_mri",
    "kaggle_labels": "lumbar_mri",
    "phantom": "lumbar_mri",
}
"""By the kind of a cohort (``cohort.kind``), the name of its region."""
