"""Crops in pixels of a frame, of two unlike sides, kept inside, and of sampled slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from spinegrade.crop.build import Jitter, crop_shard, find_centre
from spinegrade.crop.crop import crop_affine, crop_pixels
from spinegrade.crop.sampling import Sampled
from spinegrade.crop.settings import InPlane, RoiSet, Slices, roi_set_from_config
from spinegrade.crop_shape import CropShape
from spinegrade.geometry.affine import to_mm
from spinegrade.regions.lumbar_mri import FORAMINAL, LUMBAR_MRI, SPINAL, SUBARTICULAR
from spinegrade.regions.region import Cell
from spinegrade.sampled_slices import sampled_indices
from test_rois_crop import bright, keypoint, make_stack

# The patient's back and feet grow with columns and rows, or with neither, or exchanged.
WRITTEN = [[0, 1, 0, 0, 0, -1], [0, -1, 0, 0, 0, 1], [0, 0, -1, 0, 1, 0]]


def framed(size, output_px, frame_px=160, margin_px=0, **more) -> RoiSet:
    plane = InPlane("frame", size, output_px, margin_px, frame_px)
    more = {"slices": Slices(3, None, 0), "conditions": (SPINAL,)} | more
    return RoiSet(name="framed", detector="d", in_plane=plane, **more)


@pytest.mark.parametrize("orientation", WRITTEN)
def test_the_keypoint_is_the_middle_of_a_rectangle_and_the_back_is_to_the_right(
    tmp_path, orientation
):
    # 80 pixels of 0.5 mm are 160 of the frame: a crop pixel of two is one of the stack.
    stack = make_stack(tmp_path, bright((9, 80, 80), 4, 30, 40), orientation=orientation)
    roi_set = framed((18, 34), (9, 17))
    affine = crop_affine(roi_set, stack, (40, 30, 4))
    pixels = crop_pixels(roi_set, stack, stack.open(), affine)
    assert pixels.shape == roi_set.stored_shape == (3, 9, 17)
    assert np.argwhere(pixels).tolist() == [[1, 4, 8]] and pixels[1, 4, 8] == 255
    # A place 1.5 mm to the back of the point and 1 mm to its feet.
    place = to_mm(affine, [[11, 6, 1]])[0] - to_mm(stack.affine, [[40, 30, 4]])[0]
    np.testing.assert_allclose(place, [0, 1.5, -1.0], atol=1e-12)


def test_margins_go_around_both_sides(tmp_path):
    stack = make_stack(tmp_path, bright((9, 80, 80), 4, 30, 40))
    roi_set = framed((18, 34), (9, 17), margin_px=3)
    pixels = crop_pixels(roi_set, stack, stack.open(), crop_affine(roi_set, stack, (40, 30, 4)))
    assert pixels.shape == (3, 15, 23) and np.argwhere(pixels).tolist() == [[1, 7, 11]]


def test_a_rectangle_in_a_square_has_oblong_pixels(tmp_path):
    stack = make_stack(tmp_path, np.zeros((9, 80, 80), np.int16))
    # 0.25 mm a pixel of the frame: 72 x 128 of them at 64 x 64.
    affine = crop_affine(framed((72, 128), 64), stack, (40, 30, 4))
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :2], axis=0), [0.5, 0.28125])


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "pixel_mm"),
    # Between rows, then between columns: 120 rows of 0.5 are 60 mm, 80 columns of 1.0 are 80 mm.
    [((3, 120, 80), (0.5, 1.0), 0.5), ((3, 160, 80), (0.5, 0.5), 0.5), ((3, 64, 64), (1, 1), 0.4)],
)
def test_the_frame_is_as_long_as_the_longer_side(tmp_path, shape, spacing_mm, pixel_mm):
    stack = make_stack(tmp_path, np.zeros(shape, np.int16), spacing_mm=spacing_mm)
    affine = crop_affine(framed(32, 32), stack, (40, 30, 1))
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :2], axis=0), pixel_mm)


@pytest.mark.parametrize("orientation", WRITTEN)
def test_a_stretched_frame_fits_both_sides(tmp_path, orientation):
    # 120 rows of 0.5 are 60 mm, 80 columns of 1.0 are 80 mm; 160 pixels of the frame each.
    volume = np.zeros((3, 120, 80), np.int16)
    stack = make_stack(tmp_path, volume, orientation=orientation, spacing_mm=(0.5, 1.0))
    roi_set = framed(32, 32)
    roi_set = replace(roi_set, in_plane=replace(roi_set.in_plane, unit="frame_stretched"))
    steps = np.linalg.norm(crop_affine(roi_set, stack, (40, 30, 1))[:3, :2], axis=0)
    columns_run_to_the_feet = orientation[2] != 0
    expected = [0.375, 0.5] if columns_run_to_the_feet else [0.5, 0.375]
    np.testing.assert_allclose(steps, expected)


def test_a_crop_is_moved_to_stay_inside(tmp_path):
    stack = make_stack(tmp_path, np.full((5, 40, 60), 200, np.int16))
    inside = RoiSet(
        name="inside",
        detector="d",
        conditions=(SPINAL,),
        in_plane=InPlane("px", (10, 20), (10, 20), margin_px=2),
        slices=Slices(3, None, 0),
        keep_inside=True,
    )

    def first_pixel(roi_set, centre):
        """Where the crop's first pixel lies in the stack, its margin left out."""
        affine = np.linalg.solve(stack.affine, crop_affine(roi_set, stack, centre))
        return (affine @ [2, 2, 0, 1])[:3].round(9).tolist()

    assert first_pixel(inside, (1, 38, 0)) == [0, 30, 0], "columns 0 to 19, rows 30 to 39"
    assert first_pixel(inside, (59, 0, 4)) == [40, 0, 2]
    assert first_pixel(inside, (30.5, 20.5, 2)) == [21, 16, 1], "where it lies inside it stays"
    assert first_pixel(replace(inside, keep_inside=False), (1, 38, 0)) == [-8.5, 33.5, -1]
    large = replace(inside, slices=Slices(7, None, 0))
    assert first_pixel(large, (1, 38, 0))[2] == 2 - 3, "more slices than there are: the middle one"
    wide = replace(inside, in_plane=InPlane("px", (10, 80), (10, 80), margin_px=2))
    assert first_pixel(wide, (1, 38, 0))[0] == 29.5 - 39.5

    pixels = crop_pixels(inside, stack, stack.open(), crop_affine(inside, stack, (1, 38, 0)))
    seen = pixels[:, 2:-2, 2:-2]
    assert (seen == 200).all() and (pixels[:, :, :2] == 0).all(), "the margin may lie outside"


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        (10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        # k 1.7 - 0.5001: 1.2, 2.9, 4.6, 6.3, 7.9999, 9.7, 11.4, 13.1, 14.8, 16.5 less a little
        (17, [1, 3, 5, 6, 8, 10, 11, 13, 15, 16]),
        (3, [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]),
        (1, [0] * 10),
    ],
)
def test_ten_sampled_slices(slices, expected):
    assert sampled_indices(slices, 10).tolist() == expected
    for entries, later in (("fixed", 0), ("published", 1)):
        right, left = expected[:5], expected[4 + later : 9 + later]

        def found(part, side, entries=entries):
            return Sampled(part, entries=entries).indices(slices, side).tolist()

        assert found("right", "left") == right
        assert found("left", "right") == left
        assert found("centre", "left") == expected[2 + later : 7 + later]
        assert found("side", "left") == left and found("side", "right") == right


@pytest.mark.parametrize("slices", [15, 17, 23, 30])
def test_the_centre_is_about_the_middle_and_the_sides_mirror_each_other(slices):
    right, centre, left = (
        Sampled(part).indices(slices, "left") for part in ("right", "centre", "left")
    )
    # Rounding to whole slices moves each by half a slice at most.
    assert abs(centre.mean() - (slices - 1) / 2) <= 0.5
    assert np.abs((slices - 1 - right)[::-1] - left).max() <= 1
    published = Sampled("centre", entries="published").indices(slices, "left")
    assert published.mean() - centre.mean() == pytest.approx(slices / 10, abs=0.5)


def foraminal(**more) -> RoiSet:
    return framed(
        (18, 34), (9, 17), conditions=(FORAMINAL,), slices=Slices(sampled=Sampled("side")), **more
    )


def test_sampled_slices_are_those_of_the_side_wherever_the_point_is(tmp_path):
    values = np.arange(17, dtype=np.int16)[:, None, None] * 10
    volume = np.broadcast_to(values, (17, 80, 80)).copy()
    stack = make_stack(tmp_path, volume)
    cells = [Cell(FORAMINAL, "l4_l5", side) for side in ("left", "right")]
    points = pd.DataFrame([keypoint(stack, cell, 40, 30, 8) for cell in cells])
    labels = pd.DataFrame([{"study": "s1", **cell._asdict(), "grade": 0} for cell in cells])
    crops, table = crop_shard(
        foraminal(), points, [stack], labels, None, Jitter(1, 0.5), LUMBAR_MRI
    )
    assert crops.shape == (2, 5, 9, 17) and table["side"].tolist() == ["left", "right"]
    assert crops[0, :, 0, 0].tolist() == [80, 100, 110, 130, 150]
    assert crops[1, :, 8, 16].tolist() == [10, 30, 50, 60, 80]
    assert (crops == crops[:, :, :1, :1]).all() and table["index"].tolist() == [8, 8]


@pytest.mark.parametrize(
    ("slices", "expected"), [(17, [1, 2.75, 4.5, 6.25, 8]), (1, [0, 1, 2, 3, 4])]
)
def test_the_affine_of_sampled_slices_leads_from_the_first_to_the_last(tmp_path, slices, expected):
    stack = make_stack(tmp_path, bright((slices, 80, 80), 0, 30, 40))
    for roi_set in (foraminal(), foraminal(keep_inside=True)):
        indices = Sampled("right").indices(slices, "right")
        affine = crop_affine(roi_set, stack, (40, 30, 5), indices)
        places = np.linalg.solve(stack.affine, affine @ [[8] * 5, [4] * 5, range(5), [1] * 5])
        np.testing.assert_allclose(places[:3].T, [[40, 30, index] for index in expected], atol=1e-9)
        pixels = crop_pixels(roi_set, stack, stack.open(), affine, indices)
        assert pixels[:, 4, 8].tolist() == [255 * int(index == 0) for index in indices]


def test_sampled_slices_of_axial_stacks_are_refused(tmp_path):
    stack = make_stack(tmp_path, bright((9, 80, 80), 0, 30, 40), "axial")
    cell = Cell(FORAMINAL, "l4_l5", "left")
    points = pd.DataFrame([keypoint(stack, cell, 40, 30, 4)])
    labels = pd.DataFrame([{"study": "s1", **cell._asdict(), "grade": 0}])
    where = "crop.sets.framed.slices.sampled"
    with refused("CROPS_SAMPLED_PLANE", "axial", "study s1", "series 7", key=where):
        crop_shard(foraminal(), points, [stack], labels, None, Jitter(1, 0.5), LUMBAR_MRI)


def test_both_sides_may_look_at_the_canal(tmp_path):
    """The recess classifier's side look: seven slices around the canal's point of the level."""
    block = {
        "detector": "sagittal_t2",
        "conditions": ["subarticular"],
        "in_plane": {"unit": "frame", "size": [64, 128], "output_px": 128, "margin_px": 0},
        "slices": {"count": 7, "margin": 0},
    }
    stack = make_stack(tmp_path, bright((15, 256, 256), 7, 100, 90))
    canal = Cell(SPINAL, "l4_l5", "central")
    points = pd.DataFrame([keypoint(stack, canal, 90, 100, 7)])
    sides = [Cell(SUBARTICULAR, "l4_l5", side) for side in ("left", "right")]
    labels = pd.DataFrame([{"study": "s1", **cell._asdict(), "grade": 1} for cell in sides])
    roi_set = roi_set_from_config("side", block, LUMBAR_MRI)
    crops, table = crop_shard(roi_set, points, [stack], labels, None, Jitter(1, 0.5), LUMBAR_MRI)
    assert crops.shape == (2, 7, 128, 128) and table["side"].tolist() == ["left", "right"]
    np.testing.assert_array_equal(crops[0], crops[1])
    # A pixel of the stack is two of the frame, hence four rows by two columns. Rows lie 1/8, 3/8
    # and 5/8 of it away, columns 1/4: 255 x 3/4 x 5/8 = 120 and, the next row, x 3/8 = 72.
    bright_at = np.argwhere(crops[0] > 100)
    assert set(bright_at[:, 0]) == {3}
    np.testing.assert_allclose(bright_at.mean(axis=0), [3, 63.5, 63.5])
    np.testing.assert_array_equal(np.ptp(bright_at[:, 1:], axis=0) + 1, [4, 2])


def test_of_several_conditions_the_own_or_the_named_one_is_cropped_around(tmp_path):
    """A detector of foramina and canal: at a level the left foramen is surest."""
    stack = make_stack(tmp_path, bright((9, 80, 80), 4, 30, 40))
    foramen, canal = Cell(FORAMINAL, "l4_l5", "left"), Cell(SPINAL, "l4_l5", "central")
    recess = Cell(SUBARTICULAR, "l4_l5", "left")
    points = pd.DataFrame(
        [keypoint(stack, foramen, 10, 30, 4, 0.9), keypoint(stack, canal, 20, 30, 4, 0.5)]
    )

    def column(cell, **more):
        found = find_centre(framed(32, 32, **more), cell, points, [stack])
        return None if found is None else found.point_px[0]

    assert column(canal) == 20 and column(foramen) == 10
    assert column(recess) == 10, "any point of its side, where none is of its condition"
    assert column(recess, points=SPINAL) == 20
    assert column(canal, points=SUBARTICULAR) is None


BLOCK = {
    "detector": "d",
    "conditions": ["foraminal"],
    "in_plane": {"unit": "frame", "size": [72, 128], "output_px": [64, 128]},
}


@pytest.mark.parametrize(
    ("more", "code", "key", "value"),
    [
        ({"slices": {"sampled": {"part": "left"}, "count": 7}}, "CROPS_SAMPLED_AND_COUNTED", "", 7),
        (
            {"slices": {"sampled": {"part": "left"}, "margin": 2}},
            "CROPS_SAMPLED_AND_COUNTED",
            "",
            2,
        ),
        (
            {"conditions": ["canal"], "slices": {"sampled": {"part": "side"}}},
            "CROPS_SIDE_OF_CANAL",
            ".sampled.part",
            "canal",
        ),
        (
            {
                "image": {"plane": "axial", "weighting": "t2"},
                "slices": {"sampled": {"part": "left"}},
            },
            "CROPS_SAMPLED_PLANE",
            ".sampled",
            "axial",
        ),
    ],
)
def test_contradictions_are_refused(more, code, key, value):
    with refused(code, value, key=f"crop.sets.x.slices{key}"):
        roi_set_from_config("x", {**BLOCK, **more}, LUMBAR_MRI)


def test_the_shape_that_a_network_sees():
    roi_set = roi_set_from_config("x", BLOCK, LUMBAR_MRI)
    assert roi_set.stored_shape == roi_set.shape.stored == (7, 80, 144)
    assert not roi_set.in_plane.is_square and roi_set.shape.seen == (5, 64, 128)
    squared = {**BLOCK["in_plane"], "size": [72, 72], "output_px": [64, 64]}
    square = roi_set_from_config("x", {**BLOCK, "in_plane": squared}, LUMBAR_MRI)
    assert square.in_plane.is_square and square.shape == CropShape(5, 1, 64, 64, 8)
