"""The patient before the scanner: disease stays in its cell, left is left."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from spinegrade.phantom import tissues
from spinegrade.phantom.anatomy import Anatomy, draw_anatomy
from spinegrade.phantom.body import paint, spine_grid
from spinegrade.phantom.canvas import Canvas, Grid
from spinegrade.phantom.curve import FIRST_LUMBAR, STATIONS, Curve
from spinegrade.phantom.floor import expected_floor
from spinegrade.phantom.rater import grade_probabilities
from spinegrade.phantom.statistics import load_statistics
from spinegrade.regions.lumbar_mri import (
    FORAMINAL,
    LUMBAR_CELLS,
    LUMBAR_LEVELS,
    SPINAL,
    SUBARTICULAR,
)
from spinegrade.runtime.seeds import generator

# A made-up spine: gentle lordosis, levels about 31 mm apart.
CANAL = np.array([[8.0, 61.0], [2.0, 31.0], [0.0, 0.0], [3.0, -32.0], [11.0, -58.0]])
FORAMINA = CANAL + np.array([[-4, 5], [-4, 5], [-5, 5], [-7, 6], [-11, 3]])
RIGHT_FORAMINA = FORAMINA + np.array([1, -1])
SPACING_MM = 1.0


def an_anatomy(seed: int = 3) -> Anatomy:
    drawn = draw_anatomy(generator(seed, "test"), CANAL, FORAMINA, RIGHT_FORAMINA, np.full(25, 0.3))
    return replace(drawn, narrowing=np.zeros(25), cyst=())


def painted(anatomy: Anatomy, narrowing: np.ndarray) -> Canvas:
    return paint(spine_grid(anatomy, SPACING_MM), replace(anatomy, narrowing=narrowing))


def centres_of(canvas: Canvas, mask: np.ndarray) -> np.ndarray:
    """Body-frame (x, y, z) of the voxels in ``mask``."""
    index = np.argwhere(mask)
    grid = canvas.grid
    return (np.array(grid.origin_mm) + index * np.array(grid.spacing_mm))[:, ::-1]


HEALTHY = {
    SPINAL: (tissues.CSF, tissues.ROOT, tissues.CORD),
    FORAMINAL: (tissues.FORAMINAL_FAT,),
    SUBARTICULAR: (tissues.RECESS_FAT,),
}


@pytest.mark.parametrize("cell", range(0, 25, 4))
def test_a_narrowing_changes_its_own_place_and_no_other(cell: int) -> None:
    anatomy = an_anatomy()
    point = anatomy.points_mm()[cell]
    healthy = HEALTHY[LUMBAR_CELLS[cell].condition]
    open_canvas = painted(anatomy, np.zeros(25))
    places = centres_of(open_canvas, np.ones(open_canvas.labels.shape, bool))
    near = (np.linalg.norm(places - point, axis=1) < 18).reshape(open_canvas.labels.shape)
    areas = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        narrowing = np.zeros(25)
        narrowing[cell] = share
        canvas = painted(anatomy, narrowing)
        changed = canvas.labels != open_canvas.labels
        assert not changed[~near].any()
        areas.append(int(np.isin(canvas.labels[near], healthy).sum()))
    assert changed.sum() > 100
    assert all(later < earlier for earlier, later in pairwise(areas))
    assert areas[-1] < 0.85 * areas[0]


def test_other_cells_keep_their_area_when_one_narrows() -> None:
    anatomy = an_anatomy()
    narrowing = np.zeros(25)
    narrowing[LUMBAR_CELLS.index((FORAMINAL, "l4_l5", "left"))] = 1.0
    before, after = painted(anatomy, np.zeros(25)), painted(anatomy, narrowing)
    changed = centres_of(before, before.labels != after.labels)
    assert (changed[:, 0] > 5).all()  # the left only: x grows to the patient's left


def test_reflected_patient_gives_the_reflected_map() -> None:
    anatomy = an_anatomy()
    narrowing = generator(5, "test").uniform(0, 1, 25)
    anatomy = replace(anatomy, narrowing=narrowing)
    grid = spine_grid(anatomy, SPACING_MM)
    plain, mirrored = paint(grid, anatomy), paint(grid, anatomy.mirrored())

    def without_texture(labels: np.ndarray) -> np.ndarray:
        table = np.arange(256)
        for start, stop, width in ((32, 96, 4), (128, 144, 16), (144, 152, 8)):
            table[start:stop] = start + (table[start:stop] - start) // width * width
        # Bowel, kidneys and visceral fat are organs: they need not mirror.
        table[[tissues.BOWEL, tissues.KIDNEY]] = tissues.VISCERAL_FAT
        return table[labels]

    differing = without_texture(plain.labels) != without_texture(mirrored.labels[:, :, ::-1])
    assert differing.mean() < 1e-3
    swapped = anatomy.mirrored().narrowing
    left = LUMBAR_CELLS.index((FORAMINAL, "l4_l5", "left"))
    right = LUMBAR_CELLS.index((FORAMINAL, "l4_l5", "right"))
    assert swapped[left] == narrowing[right] and swapped[right] == narrowing[left]
    np.testing.assert_array_equal(anatomy.mirrored().mirrored().narrowing, narrowing)


def test_left_points_have_the_larger_x_and_levels_go_down() -> None:
    for seed in range(20):
        points = dict(zip(LUMBAR_CELLS, an_anatomy(seed).points_mm(), strict=True))
        for condition in (FORAMINAL, SUBARTICULAR):
            for level in LUMBAR_LEVELS:
                left = points[(condition, level, "left")][0]
                right = points[(condition, level, "right")][0]
                centre = points[(SPINAL, level, "central")][0]
                assert right + 10 < left and right < centre < left
        heights = [points[(SPINAL, level, "central")][2] for level in LUMBAR_LEVELS]
        assert heights == sorted(heights, reverse=True)


def test_canal_points_are_the_given_ones() -> None:
    points = an_anatomy().points_mm()
    np.testing.assert_allclose(points[:5, 1:], CANAL, atol=1e-9)
    np.testing.assert_allclose(points[5:10, 1:], FORAMINA, atol=1e-9)
    np.testing.assert_allclose(points[10:15, 1:], RIGHT_FORAMINA, atol=1e-9)


def test_tissue_at_the_true_points() -> None:
    anatomy = an_anatomy()
    canvas = painted(anatomy, np.zeros(25))
    origin, step = np.array(canvas.grid.origin_mm), np.array(canvas.grid.spacing_mm)
    for cell, point in zip(LUMBAR_CELLS, anatomy.points_mm(), strict=True):
        z, y, x = np.round((point[::-1] - origin) / step).astype(int)
        around = canvas.labels[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3]
        assert np.isin(around, HEALTHY[cell.condition]).mean() > 0.3, cell


def test_spine_coordinates_of_a_straight_spine() -> None:
    count = len(STATIONS)
    centres = np.stack([np.zeros(count), 30.0 * (FIRST_LUMBAR - np.arange(count))], axis=1)
    curve = Curve(centres, np.tile([0.0, -1.0], (count, 1)), np.arange(count, dtype=float))
    field = curve.field(np.array([7.0]), np.array([-15.0]))
    assert field.segment[0] == FIRST_LUMBAR
    assert field.fraction[0] == pytest.approx(0.5)
    assert field.behind[0] == pytest.approx(7.0)
    assert field.lateral[0] == pytest.approx(FIRST_LUMBAR + 0.5)
    assert field.distance[FIRST_LUMBAR, 0] == pytest.approx(15.0)
    assert field.distance[FIRST_LUMBAR + 1, 0] == pytest.approx(-15.0)
    assert curve.point(FIRST_LUMBAR, 5.0, 2.0) == pytest.approx((2.0, -5.0))


def test_interval_painting_counts_voxels() -> None:
    count = len(STATIONS)
    centres = np.stack([np.zeros(count), 30.0 * (FIRST_LUMBAR - np.arange(count))], axis=1)
    curve = Curve(centres, np.tile([0.0, -1.0], (count, 1)), np.zeros(count))
    grid = Grid.around((-4, -4, -4), (4, 4, 4), (1.0, 1.0, 1.0))
    canvas = Canvas(grid, curve, (0, 0, 0))
    assert grid.shape == (9, 9, 9)
    window = canvas.whole()
    window.paint(7, -2.0, 1.0, np.abs(window.field.behind) < 1.5)
    # x from -2 to 1 is four voxels, y from -1 to 1 three, all nine of z.
    assert (canvas.labels == 7).sum() == 4 * 3 * 9


def test_reflected_labels_have_the_same_floor() -> None:
    narrowing = generator(6, "test").uniform(0.05, 0.9, 25)
    anatomy = replace(an_anatomy(), narrowing=narrowing)
    statistics = load_statistics()
    plain, mirrored = (
        expected_floor(grade_probabilities(values[None], statistics))
        for values in (narrowing, anatomy.mirrored().narrowing)
    )
    assert mirrored.total == pytest.approx(plain.total, abs=1e-12)
