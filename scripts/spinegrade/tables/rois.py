"""Crops: one row a crop."""

from __future__ import annotations

from spinegrade.tables.cell_columns import GRADE
from spinegrade.tables.columns import AFFINE, real, text, whole
from spinegrade.tables.files import Kind
from spinegrade.tables.point_columns import POINT

# row: its place in rois.npy (slice axis second). affine_00 .. affine_23 map the crop's (x_px,
# y_px, slice offset, 1) to LPS mm. jitter_*: standard deviations that training draws from,
# measured from the detector's out-of-fold error.
ROIS = Kind(
    "rois",
    {
        **POINT,
        "roi_set": text(),
        "row": whole(0),
        "jitter_in_plane_mm": real(0.0),
        "jitter_slices": real(0.0),
        **GRADE,
        "fold": whole(0, nullable=True),
        **AFFINE,
    },
    ("roi_set", "row"),
)
