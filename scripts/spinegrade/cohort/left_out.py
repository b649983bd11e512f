"""Studies, series and points that are left out, each with a code, what was found, what to do."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from spinegrade.cohort.folders import plain_text
from spinegrade.tables.files import empty_table
from spinegrade.tables.rejected import REJECTED

STUDY_WITHOUT_IMAGES = "STUDY_WITHOUT_IMAGES"
STUDY_NOT_IN_CSV = "STUDY_NOT_IN_CSV"
STUDY_WITHOUT_SERIES = "STUDY_WITHOUT_SERIES"
SERIES_WITHOUT_FOLDER = "SERIES_WITHOUT_FOLDER"
SERIES_NOT_IN_CSV = "SERIES_NOT_IN_CSV"
FILES_WITHOUT_SERIES = "FILES_WITHOUT_SERIES"
EMPTY_SERIES = "EMPTY_SERIES"
LANDMARK_WITHOUT_SERIES = "LANDMARK_WITHOUT_SERIES"

ACTIONS: dict[str, str] = {
    STUDY_WITHOUT_IMAGES: "put its series folders in place, or take its rows out of the CSV files; "
    "until then it trains nothing and its cells get the prior",
    STUDY_NOT_IN_CSV: "add its rows to the CSV files, or remove its folder; until then it is "
    "not part of the cohort",
    STUDY_WITHOUT_SERIES: "add rows for its series to the series descriptions; until then it "
    "trains nothing and its cells get the prior",
    SERIES_WITHOUT_FOLDER: "put the series folder in place, or take its row out of the series "
    "descriptions",
    SERIES_NOT_IN_CSV: "add a row with its series_description to the series descriptions, or "
    "remove the folder",
    FILES_WITHOUT_SERIES: "move them into the folder of their series, or out of the study's folder",
    EMPTY_SERIES: "put its files in place where they can be read, or take its row out of the "
    "series descriptions",
    LANDMARK_WITHOUT_SERIES: "put the series in place, or take these points out of the coordinates",
}
"""Every code of this room with the action that its rows name."""


@dataclass
class LeftOut:
    """Rows of the table ``rejected``, in the order in which they were found."""

    rows: list[dict[str, str | None]] = field(default_factory=list)

    def add(self, code: str, study: str, found: str, series: str | None = None) -> None:
        """Leave out a study, or one series of it; ``found`` says what was seen, and where."""
        self.rows.append(
            {
                "study": plain_text(study),
                "series": None if series is None else plain_text(series),
                "file": None,
                "code": code,
                "found": found,
                "action": ACTIONS[code],
            }
        )

    def table(self) -> pd.DataFrame:
        """The rows as a table of kind ``rejected``."""
        return pd.DataFrame(self.rows) if self.rows else empty_table(REJECTED)
