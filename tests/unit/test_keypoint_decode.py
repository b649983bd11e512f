"""Peaks, chains of levels and slices, and places within a pixel, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from spinegrade.localise.heatmap.decode import choose_peaks, choose_slices, decode, local_mean
from spinegrade.localise.heatmap.steps import Steps, fit_steps

CHAIN = ((0, 1, 2),)


def even_steps(down_mm: float) -> Steps:
    """Three points straight below each other, 4 mm of freedom each way."""
    mean = np.array([[[0.0, down_mm, 0.0]] * 2])
    return Steps(mean, np.eye(4)[None] * 16.0, np.full((1, 2), 4.0))


def heatmaps(peaks: list[dict[tuple[int, int], float]]) -> np.ndarray:
    """Probabilities (points, 40, 10) from {(row, column): mass}."""
    found = np.zeros((len(peaks), 40, 10))
    for heatmap, masses in zip(found, peaks, strict=True):
        for place, mass in masses.items():
            heatmap[place] = mass
    return found


def test_a_skipped_level_is_seen_by_its_steps() -> None:
    # Levels 8 px apart; the middle one is a little surer of the place of the lowest.
    maps = heatmaps([{(6, 5): 1.0}, {(14, 5): 0.45, (22, 5): 0.55}, {(22, 5): 1.0}])
    alone = choose_peaks(maps, CHAIN, None, pixel_mm=4.0)
    together = choose_peaks(maps, CHAIN, even_steps(32.0), pixel_mm=4.0)
    assert alone[:, 0].tolist() == [6, 22, 22]
    assert together[:, 0].tolist() == [6, 14, 22]


def test_clear_heatmaps_outweigh_the_usual_steps() -> None:
    maps = heatmaps([{(6, 5): 1.0}, {(11, 5): 1.0}, {(22, 5): 1.0}])
    chosen = choose_peaks(maps, CHAIN, even_steps(32.0), pixel_mm=4.0)
    assert chosen[:, 0].tolist() == [6, 11, 22]


def test_one_peak_for_all_falls_back_to_each_own() -> None:
    maps = heatmaps([{(6, 5): 1.0}] * 3)
    maps[:] = maps[0]
    maps += np.linspace(0, 1e-9, maps[0].size).reshape(maps[0].shape)  # one ramp, few maxima
    assert choose_peaks(maps, CHAIN, even_steps(32.0), pixel_mm=4.0).shape == (3, 2)


def test_an_impossible_slice_is_overruled_by_its_neighbours() -> None:
    slices = np.zeros((3, 9))
    slices[0, 4] = slices[2, 4] = 1.0
    slices[1, [0, 4]] = 0.6, 0.4
    assert choose_slices(slices, CHAIN, None, 4.0).tolist() == [4, 0, 4]
    assert choose_slices(slices, CHAIN, even_steps(0.0), 4.0).tolist() == [4, 4, 4]


def test_local_mean_is_the_weighted_place_and_the_mass_near_it() -> None:
    maps = heatmaps([{(6, 5): 0.3, (6, 6): 0.3, (8, 5): 0.2, (30, 2): 0.2}])
    places, masses = local_mean(maps, np.array([[6, 5]]))
    # x: (5 * 0.5 + 6 * 0.3) / 0.8, y: (6 * 0.6 + 8 * 0.2) / 0.8
    np.testing.assert_allclose(places, [[5.375, 6.5]])
    np.testing.assert_allclose(masses, [0.8])


def test_decode_returns_the_centre_of_a_heatmap_pixel_in_input_pixels() -> None:
    maps = heatmaps([{(6, 5): 1.0}])
    slices = np.zeros((1, 9))
    slices[0, [3, 4]] = 0.5
    points, confidence = decode(
        maps, slices, chains=((0,),), steps=None, stride=2, pixel_mm=2.5, slice_mm=4.5
    )
    # Heatmap pixel 5 covers input pixels 10 and 11.
    np.testing.assert_allclose(points, [[10.5, 12.5, 3.5]])
    np.testing.assert_allclose(confidence, [1.0])


def test_steps_are_the_mean_over_studies_with_a_whole_chain() -> None:
    points = np.array([[[5, 10, 2], [5, 20, 2], [5, 30 + shift, 2]] for shift in (-1, 0, 1, 50)])
    known = np.ones((4, 3), bool)
    known[3, 0] = False
    steps = fit_steps(points, known, CHAIN, (2.0, 2.0, 4.0))
    assert steps is not None
    np.testing.assert_allclose(steps.mean, [[[0, 20, 0], [0, 20, 0]]])
    # Variance of -2, 0, 2 mm is 4; 9 is the floor; shrinkage leaves a diagonal as it is.
    np.testing.assert_allclose(np.diag(steps.covariance[0]), [9, 9, 9, 13])
    assert Steps.from_lists(steps.to_lists()).mean == pytest.approx(steps.mean)
    known[1, 0] = False
    assert fit_steps(points, known, CHAIN, (2.0, 2.0, 4.0)) is None
