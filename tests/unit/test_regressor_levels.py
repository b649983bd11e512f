"""Axial levels by hand: labels, the loss, and what slices tell each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from spinegrade.localise.axial_levels.levels import StudySequence, labels_of
from spinegrade.localise.coordinates.samples import Look
from spinegrade.losses.registry import build as build_loss
from spinegrade.losses.sequence_terms import IGNORED, soft_places
from spinegrade.models.registry import build


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def sequence_with(lengths: list[int], places: dict[tuple[int, int, int], float]) -> StudySequence:
    """A sequence of series of these lengths, with places by (series, side, level)."""
    look = Look(tuple([None] * len(lengths)), tuple(np.arange(length) for length in lengths))
    array = np.full((len(lengths), 2, 5), np.nan)
    for where, place in places.items():
        array[where] = place
    return StudySequence("s", look, array)


def test_labels_by_hand() -> None:
    # Three series of 6, 5 and 4 slices: a left L2/L3 point at 2.4 of the first, a right L5/S1
    # point at 3 of the last, whose slices are 11 to 14 of the sequence.
    sequence = sequence_with([6, 5, 4], {(0, 0, 1): 2.4, (2, 1, 4): 3.0})
    assert sequence.segments == [(0, 6), (6, 11), (11, 15)]
    labels, wanted, counted = labels_of(sequence)
    # round(0.4) = 0 to round(4.4) + 1 = 5, exclusive; and 1 to 4 (the end) of the last.
    none = IGNORED
    assert labels.tolist() == [1, 1, 1, 1, 1, none, *[none] * 5, none, 4, 4, 4]
    # The larger half is 5 - 2.4 = 2.6.
    near = [1 - abs(i - 2.4) * 0.5 / 2.6 for i in range(5)]
    assert wanted[:6, 0, 1].tolist() == pytest.approx([*near, 0.001])
    # 4 - 3 = 1 and 3 - 1 = 2: half of 2.
    assert wanted[11:, 1, 4].tolist() == pytest.approx([0.001, 0.5, 0.75, 1.0])
    assert counted[:6, 0, 1].all() and counted[11:, 1, 4].all() and counted.sum() == 10


def test_soft_places_count_from_each_series_first_slice() -> None:
    chances = torch.zeros(7, 2, 5)
    chances[1, 0, 0], chances[2, 0, 0] = 0.5, 0.5
    chances[5, 0, 0], chances[6, 0, 0] = 0.75, 0.25
    found = soft_places(chances, [(0, 4), (4, 7)])
    assert found[:, 0, 0].tolist() == [1.5, 1.25]


def test_the_loss_by_hand() -> None:
    loss = build_loss("level_sequence")
    sides = torch.zeros(3, 2, 5)
    wanted, counted = torch.zeros(3, 2, 5), torch.zeros(3, 2, 5, dtype=torch.bool)
    wanted[1, 0, 2], counted[:, 0, 2] = 1.0, True
    places = torch.full((1, 2, 5), math.nan)
    places[0, 0, 2] = 0.0
    labels = torch.tensor([IGNORED, 2, IGNORED])
    found = loss(torch.zeros(3, 5), sides, labels, wanted, counted, [(0, 3)], places)
    # ln 5 for the one near slice; three of thirty entries at ln 2; an even chance is at slice 1.
    assert found.tolist() == pytest.approx([math.log(5), 3 / 30 * math.log(2), 0.1])
    nothing = loss(
        torch.zeros(3, 5),
        *(sides, torch.full((3,), IGNORED), wanted, counted & False, [(0, 3)]),
        torch.full((1, 2, 5), math.nan),
    )
    assert nothing.tolist() == [0, 0, 0]


class Silent(torch.nn.Module):
    """A recurrence that tells nothing."""

    def forward(self, features):
        return torch.zeros_like(features), None


def test_slices_attend_to_each_other_unless_as_published() -> None:
    options = {"backbone": "test_resnet", "image_px": 32, "width": 16}
    slices = torch.randn(9, 32, 32)
    changed = slices.clone()
    changed[8] += 1
    for attention, is_told in (("fixed", True), ("published", False)):
        torch.manual_seed(2)
        network = build("level_sequence", attention=attention, **options).eval()
        # Without the recurrence only attention carries anything farther than a neighbour.
        network.recurrent = Silent()
        with torch.inference_mode():
            before, after = (network(given).levels for given in (slices, changed))
        assert before.shape == (9, 5)
        assert (not torch.allclose(before[0], after[0], atol=1e-6)) == is_told
        assert not torch.allclose(before[8], after[8], atol=1e-6)
