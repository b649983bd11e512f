"""Levels reach the axial slices through the patient, with a stated fallback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from keypoint_helpers import affine_of, write_stack
from spinegrade.errors import SpinegradeError
from spinegrade.localise.heatmap.axial import candidates_of, find_axial
from spinegrade.localise.heatmap.levels import LevelPlace, guide_weights, level_places
from spinegrade.localise.heatmap.offsets import fit_offsets
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_LEVELS, SPINAL, TARGETS
from spinegrade.training.fold_models import Cohort, FoldModels
from spinegrade.volumes import Stack


def point(condition: str, level: str, side: str, *mm: float, study: str = "s") -> dict:
    return {"study": study, "condition": condition, "level": level, "side": side} | dict(
        zip(("x_mm", "y_mm", "z_mm"), mm, strict=True)
    )


NOWHERE = {key: [0.0, 0.0, 0.0] for key in LUMBAR_LEVELS}


def axial(folder: Path, first_z_mm: float, slices: int = 5, **names: object) -> Stack:
    affine = affine_of([1, 0, 0], [0, 1, 0], [0, 0, 4], [-20, -20, first_z_mm])
    volume = np.zeros((slices, 40, 40), np.int16)
    return write_stack(folder, volume, affine, plane="axial", **names)


def test_canal_points_place_levels_and_foramina_stand_in() -> None:
    table = pd.DataFrame(
        [
            point(SPINAL, "l1_l2", "central", 0, 1, 2),
            point(FORAMINAL, "l1_l2", "left", 9, 9, 9),
            point(FORAMINAL, "l2_l3", "left", 20, 0, -30),
            point(FORAMINAL, "l2_l3", "right", -16, 2, -32),
            point(FORAMINAL, "l3_l4", "right", -16, 2, -60),
        ]
    )
    offsets = NOWHERE | {"l2_l3": [0.0, 3.0, -6.0]}
    assert level_places(table, offsets) == {
        "l1_l2": LevelPlace((0.0, 1.0, 2.0), SPINAL),
        "l2_l3": LevelPlace((2.0, 4.0, -37.0), FORAMINAL),
        "l3_l4": LevelPlace((-16.0, 2.0, -60.0), FORAMINAL),
    }


def test_offsets_are_the_mean_step_from_the_foramina_to_the_canal() -> None:
    table = pd.DataFrame(
        [
            point(SPINAL, "l1_l2", "central", 0, 4, -6),
            point(FORAMINAL, "l1_l2", "left", 10, 1, 1),
            point(FORAMINAL, "l1_l2", "right", -10, 1, -1),
            point(FORAMINAL, "l2_l3", "right", -10, 1, -1),
            point(SPINAL, "l1_l2", "central", 2, 5, -6, study="t"),
            point(FORAMINAL, "l1_l2", "left", 0, 0, 0, study="t"),
            point(SPINAL, "l1_l2", "central", 99, 99, 99, study="test_fold"),
            point(FORAMINAL, "l1_l2", "left", 0, 0, 0, study="test_fold"),
        ]
    )
    offsets = fit_offsets(table, ["s", "t"])
    assert offsets == {key: [1.0, 4.0, -6.0] for key in LUMBAR_LEVELS}
    assert fit_offsets(table, []) == NOWHERE


def test_a_guide_weighs_places_by_their_distance_in_the_patient() -> None:
    # A grid of 2 mm pixels that grows to the back and to the feet; heatmap pixels are 4 mm.
    to_mm = affine_of([0, 2, 0], [0, 0, -2], [4, 0, 0], [0, 0, 0])
    # Heatmap pixel (row 3, column 5) is centred on grid pixel (10.5, 6.5).
    places = {"l1_l2": LevelPlace((-7.0, 21.0, -13.0), SPINAL)}
    weights = guide_weights(places, ["l1_l2", "l2_l3"], to_mm, (16, 12), stride=2)
    assert weights[0].argmax() == 3 * 12 + 5 and weights[0, 3, 5] == pytest.approx(1.0)
    # Two pixels down are 8 mm.
    assert weights[0, 5, 5] == pytest.approx(0.02 + 0.98 * np.exp(-64 / 72))
    assert weights[0, 15, 0] == pytest.approx(0.02, abs=1e-3)
    assert (weights[1] == 1).all()


def test_the_nearest_slice_of_all_stacks_wins_and_ties_are_kept(tmp_path: Path) -> None:
    stacks = [
        axial(tmp_path, 0, stack=0),  # slices at 0, 4 .. 16 mm
        axial(tmp_path, 21, stack=1),  # at 21 .. 37 mm
        axial(tmp_path, 0, series="2"),  # the same as the first
    ]
    places = {
        "l1_l2": LevelPlace((0.0, 0.0, 30.0), SPINAL),
        "l2_l3": LevelPlace((0.0, 0.0, 7.0), SPINAL),
        "l3_l4": LevelPlace((0.0, 0.0, -20.0), SPINAL),  # 20 mm below everything
        "l4_l5": LevelPlace((35.0, 0.0, 7.0), SPINAL),  # beside the images
    }
    chosen, unseen = candidates_of(stacks, places, max_distance_mm=15)
    found = [(c.level, c.place.stack, c.place.index, c.place.distance_mm) for c in chosen]
    assert found == [("l1_l2", 1, 2, 1.0), ("l2_l3", 0, 2, 1.0), ("l2_l3", 2, 2, 1.0)]
    assert unseen == ["l3_l4", "l4_l5"]


class Known:
    """A detector that finds its points in fixed grid pixels; surer on a brighter image."""

    def __init__(self, fold: int) -> None:
        self.fold, self.refused, self.path = fold, set(), str(fold)

    target = TARGETS["subarticular"]
    steps = None
    offsets = NOWHERE

    class settings:
        grid = {"slices": 3, "rows": 32, "cols": 32, "pixel_mm": 1.0, "slice_mm": 4.5}  # noqa: RUF012

    class network:
        stride = 2

    def probabilities(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        maps = np.full((len(images), 2, 16, 16), 1e-6)
        brightness = images.mean(axis=(1, 2, 3)) / 255
        maps[:, 0, 8, 10] = maps[:, 1, 8, 5] = 0.5 + brightness / 2
        return maps, None


def test_points_are_found_listed_and_ties_go_to_the_surer(tmp_path: Path) -> None:
    bright = axial(tmp_path, 0, series="2")
    volume = np.full((5, 40, 40), 200, np.int16)
    bright = write_stack(tmp_path, volume, bright.affine, plane="axial", series="2")
    stacks = [axial(tmp_path, 0), bright, axial(tmp_path, 0, study="t", split="test")]
    levels = pd.DataFrame(
        [
            point(SPINAL, "l2_l3", "central", 0, 0, 8),
            point(FORAMINAL, "l2_l3", "left", 0, 0, 4, study="t"),
            point(FORAMINAL, "l4_l5", "left", 0, 0, -90, study="t"),
        ]
    )
    cohort = Cohort(["s", "t", "u"], frozenset("t"), {"s": 1, "v": 0})
    detectors = FoldModels("ax", [Known(1), Known(0)], cohort)
    found = find_axial(detectors, cohort.studies, stacks, levels, 15.0)
    table = pd.DataFrame(found.keypoints)
    assert table[["study", "series", "index", "level", "side", "source"]].values.tolist() == [
        ["s", "2", 2, "l2_l3", "left", "ax:fold_1"],
        ["s", "2", 2, "l2_l3", "right", "ax:fold_1"],
        ["t", "1", 1, "l2_l3", "left", "ax:mean"],
        ["t", "1", 1, "l2_l3", "right", "ax:mean"],
    ]
    # Heatmap pixels 10 and 5 are 20.5 and 10.5 mm along a grid that starts 16 mm from the centre.
    assert table["x_mm"].tolist() == pytest.approx([5.0, -5.0, 5.0, -5.0], abs=0.6)
    assert table["z_mm"].tolist() == [8.0, 8.0, 4.0, 4.0]
    codes = {(row["study"], row["code"]) for row in found.rejected}
    assert codes == {
        ("t", "KEYPOINTS_LEVELS_FROM_FORAMINA"),
        ("t", "KEYPOINTS_LEVEL_UNSEEN"),
        ("u", "KEYPOINTS_NO_SERIES"),
    }


def test_a_training_study_without_a_fold_is_refused_unless_models_are_foreign() -> None:
    with pytest.raises(SpinegradeError, match="study s: a training study without a fold"):
        FoldModels("d", [], Cohort(["s"], frozenset(), {})).of("s")
    assert FoldModels("d", [], Cohort(["s"], frozenset("s"), None)).of("s") == ([], "d:mean")
