"""Volumes that were deleted to free the disk must not turn into a shard without crops."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from refusals import refused
from spinegrade.crop.build import Jitter, crop_shard
from spinegrade.regions.lumbar_mri import LUMBAR_MRI, SPINAL
from spinegrade.regions.region import Cell
from test_rois_crop import bright, keypoint, make_stack, roi


def test_deleted_volumes_stop_the_job(tmp_path: Path) -> None:
    stack = make_stack(tmp_path, bright((9, 60, 70), 4, 30, 40))
    cell = Cell(SPINAL, "l4_l5", "central")
    points = pd.DataFrame([keypoint(stack, cell, 40, 30, 4)])
    labels = pd.DataFrame([{"study": "s1", **cell._asdict(), "grade": 2}])
    crops, _ = crop_shard(roi(), points, [stack], labels, None, Jitter(1.0, 0.0), LUMBAR_MRI)
    assert len(crops) == 1
    stack.path.unlink()
    with refused("VOLUME_MISSING", stack.path, "convert_dicom"):
        crop_shard(roi(), points, [stack], labels, None, Jitter(1.0, 0.0), LUMBAR_MRI)
