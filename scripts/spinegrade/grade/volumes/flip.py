"""Reversal of slices, which mirrors the patient, and how it is undone on outputs.

Slices run from the patient's right to left. Seen in reverse order the patient is mirrored: what
was the left foramen lies where a right one does. So slice z becomes D - 1 - z and, under
``flip`` "fixed", points, grades and what is known of them exchange sides. "bugged" is the
fault of the published system's submitted networks: slices and z are mirrored, sides are not
exchanged, so that a point named left lies on either side. Where there is nothing to exchange
(canal), both are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from spinegrade.errors import SpinegradeError

FLIPS = ("fixed", "bugged")
SLICE_MEANS = ("undone", "published")


class Outputs(NamedTuple):
    """``points`` float (B, P, 3), x, y and slice; ``grades`` float (B, P, 3), probabilities."""

    points: Tensor
    grades: Tensor


def exchange_sides(
    values: Tensor, reversed_: Tensor, mirror: Sequence[int], flip: str = "fixed"
) -> Tensor:
    """``values`` (B, P, ...) with left and right exchanged in the samples ``reversed_`` bool (B,).

    ``mirror`` (P,): the point that a mirror turns each one into (``Target.mirror``). Under
    ``flip`` "bugged" the values come back as they are. Grades and all else that belongs to points
    pass through here when a batch was augmented, with its ``reversed``. Raises SpinegradeError
    for another ``flip``.
    """
    if flip not in FLIPS:
        raise SpinegradeError(f"flip is {flip!r}; allowed: {', '.join(FLIPS)}")
    if flip == "bugged":
        return values
    order = torch.tensor(mirror, device=values.device)
    shape = (-1, *[1] * (values.ndim - 1))
    return torch.where(reversed_.to(values.device).view(shape), values[:, order], values)


def mirror_slices(points: Tensor, reversed_: Tensor, lengths: Sequence[int]) -> Tensor:
    """``points`` (B, P, 3) whose slice z becomes D - 1 - z in the samples ``reversed_`` (B,)."""
    last = torch.tensor(lengths, device=points.device, dtype=points.dtype)[:, None] - 1
    turned = torch.where(
        reversed_.to(points.device)[:, None], last - points[..., 2], points[..., 2]
    )
    return torch.cat([points[..., :2], turned[..., None]], dim=2)


def reverse_slices(slices: Tensor, lengths: Sequence[int]) -> Tensor:
    """Packed ``slices`` (S, ...) with those of each volume in reverse order.

    Raises SpinegradeError where ``lengths`` do not add up to S.
    """
    check_lengths(slices, lengths)
    return torch.cat([volume.flip(0) for volume in slices.split(list(lengths))])


def undo_reversal(
    outputs: Outputs, lengths: Sequence[int], mirror: Sequence[int], slices: str = "undone"
) -> Outputs:
    """Outputs for reversed slices as outputs for the slices in their own order.

    Sides are exchanged, and z becomes D - 1 - z; ``slices`` "published" leaves z as it is, as the
    published system did by mistake when it averaged points. For networks trained with
    ``flip`` "bugged" sides mean nothing, so the published system did without.
    """
    if slices not in SLICE_MEANS:
        raise SpinegradeError(f"slices is {slices!r}; allowed: {', '.join(SLICE_MEANS)}")
    everyone = torch.ones(len(outputs.points), dtype=torch.bool)
    points = outputs.points
    if slices == "undone":
        points = mirror_slices(points, everyone, lengths)
    return Outputs(
        exchange_sides(points, everyone, mirror), exchange_sides(outputs.grades, everyone, mirror)
    )


def mean_of_both(
    outputs: Outputs,
    of_reversed: Outputs,
    lengths: Sequence[int],
    mirror: Sequence[int],
    slices: str = "undone",
) -> Outputs:
    """The mean of outputs for the slices and for the reversed slices; see ``undo_reversal``."""
    back = undo_reversal(of_reversed, lengths, mirror, slices)
    return Outputs((outputs.points + back.points) / 2, (outputs.grades + back.grades) / 2)


def check_lengths(slices: Tensor, lengths: Sequence[int]) -> None:
    """Refuse packed slices that are not as many as ``lengths`` say."""
    if sum(lengths) != len(slices) or min(lengths, default=1) < 1:
        raise SpinegradeError(
            f"{len(slices)} packed slices, but the volumes' lengths are {list(lengths)}, which "
            f"make {sum(lengths)}; each must be at least 1"
        )
