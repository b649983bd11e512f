"""What this project's conversion makes of a folder."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from odd_series_judge import Made
from spinegrade.convert.series import SeriesSource, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.geometry.affine import affine_from_columns


def by_this_room(folder: Path, out: Path, plane: str) -> Made:
    """Volumes by default settings, where the tables say; the codes of what was noted."""
    source = SeriesSource("1", "2", "train", plane, "t2", folder)
    result = convert_series(source, out, ConvertSettings())
    volumes = [
        (np.asarray(nibabel.load(out / row["volume"]).dataobj).T, affine_from_columns(row))
        for row in result.stacks
    ]
    return Made(volumes, ", ".join(sorted({row["code"] for row in result.rejected})))
