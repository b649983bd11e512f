"""Affines against answers worked out by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from spinegrade.geometry.affine import (
    affine_from_columns,
    affine_from_dicom,
    affine_to_columns,
    normal,
    to_mm,
    to_pixels,
    to_ras,
)


def sagittal() -> np.ndarray:
    # Columns grow to the back (+y), rows to the feet (-z), slices from right to left (+x).
    return affine_from_dicom([0, 1, 0, 0, 0, -1], [0.5, 0.7], [-30, -100, 200], [4, 0, 0])


def test_a_sagittal_pixel_by_hand() -> None:
    # x_px 10 -> 7 mm back; y_px 20 -> 10 mm towards the feet; index 3 -> 12 mm to the left.
    assert np.allclose(to_mm(sagittal(), [[10, 20, 3]]), [[-18, -93, 190]])


def test_ras_negates_x_and_y() -> None:
    ras = to_ras(sagittal()) @ [10, 20, 3, 1]
    assert np.allclose(ras, [18, 93, 190, 1])


def test_normal_points_where_the_index_grows() -> None:
    assert np.allclose(normal(sagittal()), [1, 0, 0])
    reversed_stack = affine_from_dicom([0, 1, 0, 0, 0, -1], [1, 1], [0, 0, 0], [-4, 0, 0])
    assert np.allclose(normal(reversed_stack), [-1, 0, 0])


def test_columns_round_trip() -> None:
    assert np.array_equal(affine_from_columns(affine_to_columns(sagittal())), sagittal())


@given(
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
    st.floats(0.2, 2),
    st.floats(0.2, 2),
    st.floats(1, 9),
)
def test_pixels_to_mm_and_back(
    tilt: float, turn: float, row_mm: float, column_mm: float, step: float
) -> None:
    a = np.array([np.cos(turn), np.sin(turn), 0])
    b = np.array([0, np.sin(tilt), np.cos(tilt)])
    b = b - (b @ a) * a
    b /= np.linalg.norm(b)
    affine = affine_from_dicom([*a, *b], [row_mm, column_mm], [3, -5, 700], np.cross(a, b) * step)
    points = np.array([[0, 0, 0], [511, 3, 17], [12.25, 300.5, 2]])
    assert np.abs(to_pixels(affine, to_mm(affine, points)) - points).max() < 1e-6
