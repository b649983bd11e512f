"""The losses of the one-stage networks, with answers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from refusals import refused
from spinegrade.losses.heatmap_terms import divergence, relative_entropy
from spinegrade.losses.registry import build, loss_names
from torch import Tensor
from torch.nn import functional

LOG_3 = math.log(3)


def foraminal_case(lengths=(2,), shape=(4, 5), points=4):
    """Uniform heatmaps, points (1, 1, 1) that are found where they are, uniform grades."""
    volumes = len(lengths)
    voxels = [length * shape[0] * shape[1] for length in lengths]
    heatmaps = [
        torch.full((points, d, *shape), -math.log(n)) for d, n in zip(lengths, voxels, strict=True)
    ]
    true = torch.ones(volumes, points, 3)
    true[..., 1] = torch.arange(points) % (points // 2) * 10.0 if points > 2 else 1.0
    found = true.clone()
    grades = torch.zeros(volumes, points, dtype=torch.int64)
    known = torch.ones(volumes, points, dtype=torch.bool)
    output = (torch.cat(heatmaps, dim=1), found, torch.zeros(volumes, points, 3))
    return output, true, known, grades, list(lengths)


def one_hot_against_uniform(places: int) -> float:
    """Jensen-Shannon divergence with both clamped to 1e-8, in double precision."""
    p = np.full(places, 1 / places)
    q = np.full(places, 1e-8)
    q[0] = 1 - 1e-8
    m = np.log((p + q) / 2)
    return float((p * (np.log(p) - m) + q * (np.log(q) - m)).sum() / 2)


def test_both_are_losses_and_their_terms_are_none():
    assert {"one_stage_foraminal", "one_stage_canal"} <= set(loss_names())
    assert "heatmap_terms" not in loss_names()


def test_one_voxel_against_a_uniform_heatmap():
    """0.690, as the published training starts, for 15 slices of 80 x 80."""
    output, true, known, grades, lengths = foraminal_case((15,), (80, 80))
    true[..., 1] = 7.4
    found = build("one_stage_foraminal")(output, true, known, grades, lengths)["heatmap"]
    assert float(found) == pytest.approx(one_hot_against_uniform(15 * 80 * 80), abs=1e-5)
    assert float(found) == pytest.approx(0.690, abs=5e-4)


def test_heatmap_term_is_zero_at_the_target_and_log_two_far_from_it():
    loss = build("one_stage_foraminal")
    output, true, known, grades, lengths = foraminal_case((2, 3), (4, 5), points=2)
    true[0, :, 0], true[1, :, 0] = 2.6, 0.0  # nearest: column 3 and column 0
    heatmaps = torch.full_like(output[0], -1e4)
    heatmaps[:, 1, 1, 3] = 0.0  # volume 0, slice 1, row 1
    heatmaps[:, 2 + 1, 1, 0] = 0.0  # volume 1, slice 1, row 1
    exact = loss((heatmaps, *output[1:]), true, known, grades, lengths)["heatmap"]
    assert float(exact) == pytest.approx(0.0, abs=1e-6)
    true[1, 1, 2] = 2.0  # one of four points lies in another slice
    away = loss((heatmaps, *output[1:]), true, known, grades, lengths)["heatmap"]
    assert float(away) == pytest.approx(math.log(2) / 4, abs=1e-5)
    known[1, 1] = False
    unknown = loss((heatmaps, *output[1:]), true, known, grades, lengths)["heatmap"]
    assert float(unknown) == pytest.approx(0.0, abs=1e-6)


def test_a_normal_target_is_one_slice_wide_and_adds_up_to_one():
    loss = build("one_stage_foraminal", point_sigma_px=2.0)
    output, true, known, grades, lengths = foraminal_case((3,), (4, 5), points=2)
    z, y, x = np.meshgrid(np.arange(3), np.arange(4), np.arange(5), indexing="ij")
    normal = np.exp(-((z - 1) ** 2) / 2 - ((y - 1) ** 2 + (x - 1) ** 2) / 8)
    target = torch.from_numpy(normal / normal.sum()).float()
    heatmaps = target.log().expand(2, 3, 4, 5)
    true[..., 1] = 1.0
    found = loss((heatmaps, *output[1:]), true, known, grades, lengths)["heatmap"]
    assert float(found) == pytest.approx(0.0, abs=1e-6)


def test_relative_entropy_by_hand():
    """Found evenly, wanted in one place: the logarithm of the number of places."""
    output, true, known, grades, lengths = foraminal_case((3,), points=2)
    loss = build("one_stage_foraminal", heatmap="relative_entropy")
    found = loss(output, true, known, grades, lengths)["heatmap"]
    assert float(found) == pytest.approx(math.log(3 * 4 * 5), rel=1e-5)
    output, true, known, grades, lengths = canal_case()
    loss = build("one_stage_canal", heatmap="relative_entropy", point_sigma_px=0.0)
    found = loss(output, true, known, grades, lengths)["heatmap"]
    assert float(found) == pytest.approx(math.log(6 * 7), rel=1e-5)


def test_the_gradient_of_relative_entropy_does_not_vanish_far_off():
    # Sure by e**12 of a wrong place: the published divergence hardly pulls any more.
    pulls = []
    for term in (divergence, relative_entropy):
        logits = torch.tensor([[12.0, 0.0]], requires_grad=True)
        term(logits.log_softmax(dim=1), torch.tensor([[0.0, 1.0]])).sum().backward()
        pulls.append(float(logits.grad[0, 0]))
    assert pulls[0] < 1e-3 and pulls[1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["one_stage_foraminal", "one_stage_canal"])
def test_an_unknown_divergence_is_refused(name):
    with refused("OPTION_UNKNOWN", "heatmap", "l2", "jensen_shannon"):
        build(name, heatmap="l2")


def test_place_errors_by_hand():
    output, true, known, grades, lengths = foraminal_case((2,), points=2)
    output[1][0, 0] += torch.tensor([3.0, 1.0, 2.0])  # x, y: (9 + 1) / 2; z: 4
    parts = build("one_stage_foraminal")(output, true, known, grades, lengths)
    assert float(parts["points"]) == pytest.approx((5 + 4) / 2)
    known[0, 0] = False
    parts = build("one_stage_foraminal")(output, true, known, grades, lengths)
    assert float(parts["points"]) == 0


@pytest.mark.parametrize(("mean", "by"), [("weights", 7), ("cells", 3)])
def test_grades_are_weighed_and_divided_by_their_weights_or_number(mean, by):
    output, true, known, grades, lengths = foraminal_case()
    logits = torch.zeros(1, 4, 3)
    logits[0, 1] = torch.tensor([0.0, 0.0, math.log(2)])  # one half for severe
    grades[0] = torch.tensor([0, 2, 1, -1])
    loss = build("one_stage_foraminal", grade_mean=mean)
    parts = loss((*output[:2], logits), true, known, grades, lengths)
    expected = (1 * LOG_3 + 4 * math.log(2) + 2 * LOG_3) / by
    assert float(parts["grade"]) == pytest.approx(expected)


def levels_case(shift: float):
    """Ten points 10 px apart whose grades tell levels, found ``shift`` px too low."""
    _, true, known, *_ = foraminal_case((2,), points=10)
    grades = torch.tensor([[0, 1, 2, 0, 1, 2, 1, 0, 2, 1]])
    found = true.clone()
    found[..., 1] += shift
    return true, known, grades, found


def matched(matching: str, shift: float) -> Tensor:
    """Which grades the points get: the logits' gradient pulls at that class alone."""
    true, known, grades, found = levels_case(shift)
    output, *_, lengths = foraminal_case((2,), points=10)
    wanted = []
    loss = build("one_stage_foraminal", matching=matching, grade_weights=(1, 1, 1))
    logits = torch.zeros(1, 10, 3, requires_grad=True)
    loss((output[0], found, logits), true, known, grades, lengths)["grade"].backward()
    for gradient in logits.grad[0]:
        wanted.append(int(gradient.argmin()) if gradient.any() else -1)
    return torch.tensor(wanted)


def test_points_take_the_grade_of_the_landmark_that_they_found():
    grades = levels_case(0.0)[2][0]
    assert matched("fixed", 2.9).tolist() == grades.tolist()
    # A level too low each: slot j found landmark j + 1; the last of a side found none.
    expected = [*grades[1:5].tolist(), -1, *grades[6:].tolist(), -1]
    assert matched("fixed", 10.0).tolist() == expected
    # 3 px is too far, strictly.
    assert matched("fixed", 3.0).tolist() == [-1] * 10


def test_published_matching_is_transposed():
    grades = levels_case(0.0)[2][0]
    assert matched("published", 2.9).tolist() == grades.tolist()
    # Landmark j is nearest to the point of slot j - 1, which is then taken as a landmark's index.
    expected = [-1, *grades[:4].tolist(), -1, *grades[5:9].tolist()]
    assert matched("published", 10.0).tolist() == expected


def test_sides_are_not_mixed_and_unknown_landmarks_match_nothing():
    true, known, grades, found = levels_case(0.0)
    output, *_, lengths = foraminal_case((2,), points=10)
    known[0, :5] = False
    logits = torch.zeros(1, 10, 3, requires_grad=True)
    loss = build("one_stage_foraminal")
    loss((output[0], found, logits), true, known, grades, lengths)["grade"].backward()
    assert not logits.grad[0, :5].any() and logits.grad[0, 5:].any(dim=1).all()


@pytest.mark.parametrize("matching", ["fixed", "published"])
def test_nothing_to_learn_from_is_zero_not_nan(matching):
    output, true, known, grades, lengths = foraminal_case((2,), points=10)
    output = tuple(part.requires_grad_() for part in output)
    far = true + 1000  # no point within reach of a landmark
    parts = build("one_stage_foraminal", matching=matching)(output, far, known, grades, lengths)
    assert parts["grade"].item() == 0 and parts["heatmap"].item() == 0
    parts = build("one_stage_foraminal", matching=matching)(
        output, true, known & False, grades, lengths
    )
    total = sum(parts.values())
    total.backward()
    assert total.item() == 0 and all(torch.isfinite(part.grad).all() for part in output)


def test_an_unknown_matching_is_refused():
    with refused("OPTION_UNKNOWN", "matching", "best", "fixed"):
        build("one_stage_foraminal", matching="best")


def canal_case(shape=(6, 7)):
    """Two volumes of 2 and 4 slices, one point at (x 2, y 3, slice 1), all uniform."""
    log_slices = torch.cat([torch.full((1, 2), -math.log(2)), torch.full((1, 4), -math.log(4))], 1)
    log_heatmaps = torch.full((2, 1, *shape), -math.log(shape[0] * shape[1]))
    true = torch.tensor([2.0, 3.0, 1.0]).expand(2, 1, 3).clone()
    pixels = torch.full((2, 3, *shape), 1 / 3)
    output = (log_slices, log_heatmaps, true.clone(), torch.full((2, 1, 3), 1 / 3), pixels)
    grades = torch.tensor([[0], [2]])
    return output, true, torch.ones(2, 1, dtype=torch.bool), grades, [2, 4]


def test_canal_terms_by_hand():
    output, true, known, grades, lengths = canal_case()
    output[2][1, 0] += torch.tensor([2.0, 0.0, 50.0])  # the slice is no place here
    parts = build("one_stage_canal")(output, true, known, grades, lengths)
    assert float(parts["slices"]) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert float(parts["points"]) == pytest.approx((0 + 4 / 2) / 2)
    # One pooled loss, a half at the pixel, four eighths around it, each log 3.
    assert float(parts["grade"]) == pytest.approx(2 * LOG_3, rel=1e-6)
    known[1] = False
    parts = build("one_stage_canal")(output, true, known, grades, lengths)
    assert float(parts["slices"]) == pytest.approx(math.log(2))
    assert float(parts["points"]) == 0


def test_canal_target_is_a_normal_of_one_pixel():
    output, true, known, grades, lengths = canal_case()
    y, x = np.meshgrid(np.arange(6), np.arange(7), indexing="ij")
    normal = np.exp(-((y - 3) ** 2 + (x - 2) ** 2) / 2)
    log_normal = torch.from_numpy(np.log(normal / normal.sum())).float().expand(2, 1, 6, 7)
    changed = (output[0], log_normal, *output[2:])
    parts = build("one_stage_canal")(changed, true, known, grades, lengths)
    assert float(parts["heatmap"]) == pytest.approx(0.0, abs=1e-6)
    parts = build("one_stage_canal")(output, true, known, grades, lengths)
    assert 0.1 < float(parts["heatmap"]) < math.log(2)


def test_canal_grades_of_pixels_are_those_at_the_point_and_around_it():
    output, true, known, grades, lengths = canal_case()
    true[..., 0] = 2.2  # nearest column 2; half a pixel away: 1.7 and 2.7, hence 2 and 3
    true[..., 1] = 3.4  # nearest row 3; half a pixel away: 2.9 and 3.9, hence 3 and 4
    known[1] = False
    shares = {(3, 2): 0.5, (3, 3): 0.25, (4, 2): 0.2, (4, 3): 0.1}  # (row, column) of grade 0
    pixels = torch.full((2, 3, 6, 7), 1 / 3)
    for (row, column), share in shares.items():
        pixels[0, :, row, column] = torch.tensor([share, (1 - share) / 2, (1 - share) / 2])
    loss = build("one_stage_canal", pixel_weight=3.0, neighbour_weight=0.5)
    found = float(loss((*output[:4], pixels), true, known, grades, lengths)["grade"])
    around = sum(-math.log(share) for share in shares.values())
    assert found == pytest.approx(LOG_3 + 3 * math.log(2) + 0.5 * around, rel=1e-6)


@pytest.mark.parametrize(("mean", "by"), [("weights", 5), ("cells", 2)])
def test_canal_grades_are_weighed_and_divided_and_certainty_is_clamped(mean, by):
    output, true, known, grades, lengths = canal_case()
    pooled = torch.tensor([[[1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]])
    loss = build("one_stage_canal", pixel_weight=0.0, neighbour_weight=0.0, grade_mean=mean)
    found = loss((*output[:3], pooled, output[4]), true, known, grades, lengths)["grade"]
    assert float(found) == pytest.approx(4 * math.log(1e5) / by, rel=1e-4)


@pytest.mark.parametrize("name", ["one_stage_foraminal", "one_stage_canal"])
def test_an_unknown_mean_of_grades_is_refused(name):
    with refused("OPTION_UNKNOWN", "grade_mean", "volumes", "cells"):
        build(name, grade_mean="volumes")


def test_canal_points_out_of_the_image_or_unknown_add_nothing():
    output, true, known, grades, lengths = canal_case()
    output = tuple(part.requires_grad_() for part in output)
    loss = build("one_stage_canal")
    true[0, 0] = torch.tensor([-9.0, 3.0, 7.0])
    inside = loss(output, true, torch.tensor([[False], [True]]), grades, lengths)
    both = loss(output, true, known, grades, lengths)
    assert both["heatmap"].item() == pytest.approx(inside["heatmap"].item())
    assert float(both["slices"]) == pytest.approx(math.log(4))
    none = sum(loss(output, true, known & False, grades, lengths).values())
    none.backward()
    assert none.item() == 0 and all(torch.isfinite(part.grad).all() for part in output)


def test_losses_lead_to_their_targets():
    """Descent on free logits puts the heatmap at the point and the grade right."""
    logits = torch.zeros(2, 24, requires_grad=True)
    grades = torch.zeros(1, 2, 3, requires_grad=True)
    true = torch.tensor([[[1.0, 2.0, 1.0], [2.0, 0.0, 0.0]]])
    wanted = torch.tensor([[2, 1]])
    optimiser = torch.optim.Adam([logits, grades], lr=0.3)
    loss = build("one_stage_foraminal")
    for _ in range(150):
        log_heatmaps = functional.log_softmax(logits, dim=1).view(2, 2, 4, 3)
        heatmaps = log_heatmaps.exp()
        x = heatmaps.sum((1, 2)) @ torch.arange(3.0)
        y = heatmaps.sum((1, 3)) @ torch.arange(4.0)
        z = heatmaps.sum((2, 3)) @ torch.arange(2.0)
        output = (log_heatmaps, torch.stack([x, y, z], 1)[None], grades)
        total = sum(loss(output, true, true[..., 0] >= 0, wanted, [2]).values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert logits.argmax(1).tolist() == [1 * 12 + 2 * 3 + 1, 0 * 12 + 0 * 3 + 2]
    assert grades.argmax(2).tolist() == [[2, 1]] and float(total) < 0.1
