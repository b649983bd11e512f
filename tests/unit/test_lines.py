"""Even lines through written positions: the nearest one, rounding, places left free."""

from __future__ import annotations

import numpy as np
import pytest
from spinegrade.geometry.lines import (
    even_line,
    lies_even,
    on_even_places,
    position_tolerances_mm,
    rounded_to_mm,
)
from spinegrade.geometry.stacks import split_runs

UP = np.array([0.0, 0.0, 1.0])


def up(*heights_mm: float) -> np.ndarray:
    return np.outer(heights_mm, UP)


def test_exact_positions_give_the_line_through_their_ends() -> None:
    line = even_line(np.array([[1.0, 2, 3], [1, 2.5, 7], [1, 3, 11]]))
    np.testing.assert_array_equal(line.first, [1, 2, 3])
    np.testing.assert_array_equal(line.step, [0, 0.5, 4])
    assert line.apart_mm == 0


def test_the_line_is_the_one_whose_worst_distance_is_least() -> None:
    # By hand: 0, 4, 9, 13 lie 0, -0.33, 0.33, 0 off the line through the ends (13/3 a step), and
    # +-0.25 off the line -0.25 + 4.5 k: 0.25, -0.25, 0.25, -0.25.
    line = even_line(up(0, 4, 9, 13))
    assert line.apart_mm == pytest.approx(0.25)
    np.testing.assert_allclose(line.step, 4.5 * UP, atol=1e-9)
    np.testing.assert_allclose(line.first, -0.25 * UP, atol=1e-9)
    assert lies_even(up(0, 4, 9, 13), 0.26)
    assert not lies_even(up(0, 4, 9, 13), 0.24)


def test_one_missing_slice_is_a_quarter_of_a_step_off_at_least() -> None:
    # By hand for the shortest stack: 0, 2, 3 lie 0.25 off the line 0.25 + 1.5 k.
    assert even_line(up(0, 2, 3)).apart_mm == pytest.approx(0.25)
    for count in (4, 5, 15, 60):
        for lost in range(1, count):
            heights = [float(n) for n in range(count + 1) if n != lost]
            assert even_line(up(*heights)).apart_mm >= 0.25 - 1e-9


@pytest.mark.parametrize(
    ("heights", "rounded"),
    [((0, 3, 7, 10), 1.0), ((0, 3.5, 7), 0.5), ((0, 3.9, 7.7), 0.1), ((0, 3.85), 0.0)],
)
def test_what_positions_are_rounded_to(heights: tuple[float, ...], rounded: float) -> None:
    assert rounded_to_mm(up(*heights)) == rounded


def test_rounding_widens_the_tolerance_only_beside_a_large_step() -> None:
    def tolerances(heights: tuple[float, ...], step_mm: float) -> object:
        found = position_tolerances_mm(up(*heights), step_mm, 0.1)
        return pytest.approx(found, abs=1e-5)

    assert tolerances((0, 3, 7, 10), 3.3) == (0.1, 0.5)
    # Whole millimetres 1 mm apart: half a millimetre would hide a missing slice.
    assert tolerances((0, 1, 2, 4), 1.0) == (0.1, 0.1)
    # And no tolerance is more than a fifth of the step.
    assert tolerances((0, 0.33, 0.66), 0.33) == (0.066, 0.066)


def test_a_jump_that_rounding_does_not_explain_is_cut() -> None:
    # Ten slices 3 mm apart, then ten more 5 mm on: no line of whole numbers has both steps.
    heights = [*range(0, 30, 3), *range(32, 62, 3)]
    runs, _ = split_runs(up(*heights), UP, 0.1, 20.0)
    assert runs == [range(10), range(10, 20)]


def test_steps_that_keep_growing_are_no_rounding() -> None:
    # 0, 3, 7, 12 lie within half a millimetre of a line, but rounding gives two steps at most.
    assert len(split_runs(up(0, 3, 7, 12), UP, 0.1, 20.0)[0]) > 1


@pytest.mark.parametrize(
    ("step_mm", "decimals", "degrees"),
    [(3.85, 1, 0), (3.85, 1, 12), (3.3, 0, 0), (3.3, 0, 12), (4.4, 0, 25), (0.75, 1, 3)],
)
def test_rounded_positions_are_one_run(step_mm: float, decimals: int, degrees: float) -> None:
    angle = np.radians(degrees)
    normal = np.array([0, -np.sin(angle), np.cos(angle)])
    exact = np.array([-28.0, -10.03, 12.4]) + np.outer(np.arange(15) * step_mm, normal)
    runs, cuts = split_runs(np.round(exact, decimals), normal, 0.1, 20.0)
    assert (runs, cuts) == ([range(15)], [])
    # With one slice missing they are two, whatever the rounding.
    runs, cuts = split_runs(np.delete(np.round(exact, decimals), 6, axis=0), normal, 0.1, 20.0)
    assert runs == [range(6), range(6, 14)]
    assert cuts[0].found_mm == pytest.approx(2 * step_mm, abs=10**-decimals)


def test_places_of_an_even_line_may_be_free() -> None:
    assert on_even_places(up(0, 4, 12, 24), 4 * UP, 0.1)
    assert not on_even_places(up(0, 4, 8, 10, 14, 18), 4 * UP, 0.1)  # two blocks, 2 mm off
    assert not on_even_places(up(0, 0.05, 4, 8), 4 * UP, 0.1)  # two at one place
