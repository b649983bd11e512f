"""The loss of the one-stage foraminal network: heatmaps, places and matched grades.

As in hengck23's part of the seventh place of RSNA 2024, each part of weight one. Two faults of
it are mended: a batch in which no point matches adds zero, not NaN, and a point takes the
grade of the landmark that it found (``matching="published"`` takes it the wrong way round).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spinegrade.errors import SpinegradeError
from spinegrade.losses.heatmap_terms import (
    check_grade_mean,
    divergence_named,
    mean_of,
    place_errors,
    point_target,
    weighted_nll,
)

MATCHINGS = ("fixed", "published")
_SIGMA_SLICES = 1.0


def build(
    grade_weights: Sequence[float] = (1, 2, 4),
    match_px: float = 3.0,
    matching: str = "fixed",
    point_sigma_px: float = 0.0,
    heatmap: str = "jensen_shannon",
    grade_mean: str = "weights",
) -> Callable[..., dict[str, Tensor]]:
    """The loss ``(output, points, known, grades, lengths) -> parts``.

    ``output`` is the network's ForaminalOutput; ``points`` float (B, P, 3), x and y in mask
    pixels, z the slice; ``known`` bool (B, P); ``grades`` int64 (B, P), -1 where missing;
    ``lengths`` the slices of each volume. The parts, scalars whose sum is trained on:

    - ``heatmap``: mean Jensen-Shannon divergence, or ``heatmap`` "relative_entropy", from the
      voxel nearest to each known point or, with ``point_sigma_px`` mask pixels, from a normal about
      it (one slice wide along z);
    - ``points``: mean squared error of x and y in mask pixels, and of z in slices;
    - ``grade``: cross entropy weighted by ``grade_weights`` of the points that are matched, its
      mean as ``heatmap_terms.weighted_nll`` takes it.

    A point is matched within its side, by y alone, to the landmark nearest to it, if less
    than ``match_px`` mask pixels away, so that counting vertebrae wrongly is no wrong grade.
    ``matching`` "published" asks which point is nearest to each landmark and takes that as the
    landmark's index: a point a level too low then gets the grade of the level above it.

    Raises SpinegradeError for an unknown ``matching``, ``heatmap`` or ``grade_mean``.
    """
    if matching not in MATCHINGS:
        raise SpinegradeError(
            f"loss one_stage_foraminal: matching is {matching!r}; allowed: {', '.join(MATCHINGS)}",
            code="OPTION_UNKNOWN",
        )
    divergence = divergence_named(heatmap)
    check_grade_mean(grade_mean)
    sigmas = (_SIGMA_SLICES if point_sigma_px > 0 else 0.0, point_sigma_px, point_sigma_px)

    def loss(
        output: tuple[Tensor, ...],
        points: Tensor,
        known: Tensor,
        grades: Tensor,
        lengths: Sequence[int],
    ) -> dict[str, Tensor]:
        log_heatmaps, found, logits = output
        errors = place_errors(found[:, :, :2], points[:, :, :2], known)
        errors = errors + place_errors(found[:, :, 2:], points[:, :, 2:], known)
        wanted = matched_grades(found, points, known, grades, match_px, matching)
        weights = torch.tensor(grade_weights, dtype=torch.float32, device=logits.device)
        log_grades = logits.flatten(0, 1).log_softmax(dim=1)
        grade = weighted_nll(log_grades, wanted.flatten(), weights, grade_mean)
        return {
            "heatmap": _divergences(log_heatmaps, points, known, lengths, sigmas, divergence),
            "points": errors,
            "grade": grade,
        }

    return loss


def _divergences(
    log_heatmaps: Tensor,
    points: Tensor,
    known: Tensor,
    lengths: Sequence[int],
    sigmas: Sequence[float],
    divergence: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Mean divergence over the known points that lie in their volume."""
    values, counted = [], []
    for volume, part in enumerate(log_heatmaps.split(list(lengths), dim=1)):
        target, inside = point_target(points[volume].flip(1), part.shape[1:], sigmas)
        values.append(divergence(part.flatten(1), target))
        counted.append(inside & known[volume])
    return mean_of(torch.stack(values), torch.stack(counted))


def matched_grades(
    found: Tensor, points: Tensor, known: Tensor, grades: Tensor, match_px: float, matching: str
) -> Tensor:
    """The grade that each found point should get, int64 (B, P), -1 for none.

    ``found`` and ``points`` (B, P, 3), ``known`` and ``grades`` (B, P), the first half of the
    points of one side and the second of the other. No gradient passes.
    """
    volumes, count = grades.shape
    sides = (volumes, 2, count // 2)
    grades = torch.where(known, grades, -1).view(sides)
    true_y = torch.where(known, points[:, :, 1], torch.inf).view(sides)
    # Rows are found points, columns landmarks.
    distance = (found.detach()[:, :, 1].view(sides)[..., :, None] - true_y[..., None, :]).abs()
    least, index = distance.min(dim=3 if matching == "fixed" else 2)
    taken = torch.where(least < match_px, grades.gather(2, index), -1)
    return taken.view(volumes, count)
