"""Where things lie in a folder of the Kaggle RSNA 2024 layout, and what an id may look like."""

from __future__ import annotations

import re
from pathlib import Path

LABELS = "train.csv"
LANDMARKS = "train_label_coordinates.csv"
TRAIN_SERIES = "train_series_descriptions.csv"
TEST_SERIES = "test_series_descriptions.csv"
SUBMISSION = "sample_submission.csv"
REQUIRED = (LABELS, LANDMARKS, TRAIN_SERIES)
OPTIONAL = (TEST_SERIES, SUBMISSION)
TRAIN_IMAGES = "train_images"
TEST_IMAGES = "test_images"

# At most 64 digits, as DICOM's unique identifiers are at most 64 characters. Digits alone
# also keep every id a plain, safe path component.
_ID = re.compile(r"[0-9]{1,64}", re.ASCII)


def is_id(text: str) -> bool:
    """Whether ``text`` can be a study or series id: one to 64 decimal digits, nothing else."""
    return _ID.fullmatch(text) is not None


def csv_path(root: str | Path, name: str) -> Path | None:
    """Path of the table ``name`` (ending in .csv) under ``root``, plain or as .csv.gz.

    The plain file wins where both lie there; None where neither does.
    """
    plain = Path(root) / name
    for candidate in (plain, plain.with_name(name + ".gz")):
        if candidate.is_file():
            return candidate
    return None
