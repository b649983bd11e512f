"""Terms that the losses of both one-stage networks are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from spinegrade.errors import SpinegradeError

_SMALLEST = 1e-8
GRADE_MEANS = ("weights", "cells")


def divergence(log_found: Tensor, wanted: Tensor) -> Tensor:
    """Jensen-Shannon divergence in nats of each row, as published: both clamped to 1e-8 first.

    ``log_found`` log-probabilities and ``wanted`` probabilities, (points, places) float32;
    (points,) comes back, at most log 2.
    """
    found = log_found.exp().clamp(_SMALLEST, 1 - _SMALLEST)
    wanted = wanted.clamp(_SMALLEST, 1 - _SMALLEST)
    middle = ((found + wanted) / 2).log()
    both = found * (found.log() - middle) + wanted * (wanted.log() - middle)
    return both.sum(dim=1) / 2


def relative_entropy(log_found: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence in nats of each row's ``wanted`` from what is found.

    Shapes as in ``divergence``. Unlike that it has no greatest value: where the network is sure of
    a wrong place its gradient is large, where that of the published one all but vanishes.
    """
    return (torch.xlogy(wanted, wanted) - wanted * log_found).sum(dim=1)


_DIVERGENCES = {"jensen_shannon": divergence, "relative_entropy": relative_entropy}


def divergence_named(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """``divergence`` or ``relative_entropy`` by name; SpinegradeError for another one."""
    if name not in _DIVERGENCES:
        raise SpinegradeError(
            f"a one-stage loss: heatmap is {name!r}; allowed: {', '.join(_DIVERGENCES)}",
            code="OPTION_UNKNOWN",
        )
    return _DIVERGENCES[name]


def point_target(
    points: Tensor, shape: Sequence[int], sigmas: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Where points should be found: probabilities (n, places), and bool (n,), which lie inside.

    ``points`` (n, axes) are places on the axes of ``shape``, in its order. A sigma of zero puts
    all on the nearest place of its axis; else it is a normal about the point, of that width and
    cut off at the borders. Rows of points whose nearest place lies outside hold no meaning.
    """
    inside = torch.ones(len(points), dtype=torch.bool, device=points.device)
    target = points.new_ones(len(points), 1)
    for axis, (length, sigma) in enumerate(zip(shape, sigmas, strict=True)):
        place = points[:, axis : axis + 1]
        nearest = place.round().squeeze(1)
        inside &= (nearest >= 0) & (nearest < length)
        along = torch.arange(length, dtype=points.dtype, device=points.device)
        if sigma > 0:
            values = (-((along - place) ** 2) / (2 * sigma**2)).softmax(dim=1)
        else:
            values = (along == nearest[:, None]).to(points.dtype)
        target = (target[:, :, None] * values[:, None, :]).flatten(1)
    return target, inside


def mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of ``values`` where ``counted``; zero, not NaN, where nothing is."""
    return torch.where(counted, values, 0).sum() / counted.sum().clamp(min=1)


def place_errors(found: Tensor, points: Tensor, known: Tensor) -> Tensor:
    """Mean squared error over axes and known points; the first two are (B, points, axes)."""
    return mean_of(((found - points) ** 2).mean(dim=2), known)


def check_grade_mean(name: str) -> None:
    """Raise SpinegradeError for a ``grade_mean`` that ``weighted_nll`` does not know."""
    if name not in GRADE_MEANS:
        raise SpinegradeError(
            f"grade_mean is {name!r}; allowed: {', '.join(GRADE_MEANS)}", code="OPTION_UNKNOWN"
        )


def weighted_nll(
    log_probabilities: Tensor, grades: Tensor, weights: Tensor, grade_mean: str = "weights"
) -> Tensor:
    """Weighted mean log loss: (n, 3), int64 (n,) with -1 where missing, (3,).

    Each grade counts as its weight in the sum. What divides it is the sum of the ``weights``, as
    published, or the number of ``cells``. Over a batch of few cells the first makes a severe
    one count less than its weight, since it divides by itself. Zero where all miss.
    """
    total = functional.nll_loss(
        log_probabilities, grades, weights, ignore_index=-1, reduction="sum"
    )
    graded = grades >= 0
    if grade_mean == "cells":
        return total / graded.sum().clamp(min=1)
    counted = torch.where(graded, weights[grades.clamp(min=0)], 0).sum()
    return total / counted.clamp(min=weights.min())
