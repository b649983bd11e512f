"""What a network says of volumes: points, grades and how sure it is, seen once or also mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.grade.volumes.augment import plain
from spinegrade.grade.volumes.canvas import from_mask
from spinegrade.grade.volumes.flip import Outputs, mean_of_both, reverse_slices
from spinegrade.grade.volumes.settings import Settings
from spinegrade.training.task import Moment

# A point is sure where the heatmap lies this close to it; mask px, and slices to either side.
_NEAR_PX = 3.0
_NEAR_SLICES = 1.5


class Answer(NamedTuple):
    """Of B volumes, float64: ``points`` (B, P, 3) in canvas px and slices, x, y, z.

    ``grades`` (B, P, 3) are probabilities. ``confidence`` (B, P) is the probability that the
    heatmaps give to the neighbourhood of the points, 3 mask px and 1.5 slices about each.
    """

    points: NDArray[np.float64]
    grades: NDArray[np.float64]
    confidence: NDArray[np.float64]


class Looks(NamedTuple):
    """``final`` as the network's ``looks`` say; ``plain`` seen once, None where both are one."""

    final: Answer
    plain: Answer | None


@torch.inference_mode()
def look(
    network: nn.Module,
    slices: Tensor,
    lengths: Sequence[int],
    settings: Settings,
    at: Moment,
    mirrored: bool = False,
) -> Looks:
    """What ``network``, in evaluation mode, says of packed ``slices`` uint8 (S, canvas, canvas).

    With ``mirrored`` points and probabilities are the mean over the slices in their own and
    in reverse order, the latter's sides exchanged and slices counted back.
    """
    own, sure = _forward(network, slices.to(at.device), lengths, settings, at)
    once = _answer(own, sure, settings)
    if not mirrored:
        return Looks(once, None)
    turned = reverse_slices(slices, lengths).to(at.device)
    other, also_sure = _forward(network, turned, lengths, settings, at)
    mirror = list(settings.points.mirror)
    both = mean_of_both(own, other, lengths, mirror)
    return Looks(_answer(both, (sure + also_sure[:, mirror]) / 2, settings), once)


def mean_answer(answers: Sequence[Answer]) -> Answer:
    """The mean of several networks' answers to the same volumes."""
    return Answer(*(np.mean(parts, axis=0) for parts in zip(*answers, strict=True)))


def _forward(
    network: nn.Module,
    slices: Tensor,
    lengths: Sequence[int],
    settings: Settings,
    at: Moment,
) -> tuple[Outputs, Tensor]:
    """Points in mask px with probabilities of grades, and confidences, in float64."""
    seen = plain(slices, torch.zeros(len(lengths), 1, 3), settings.image_px).slices
    with at.autocast():
        output = network(seen, lengths)
    points = output.points.double()
    if settings.target == "foraminal":
        grades = output.grades.double().softmax(dim=2)
        heatmaps = output.log_heatmaps.exp().split(list(lengths), dim=1)
        sure = torch.stack([_mass(*pair) for pair in zip(heatmaps, points, strict=True)])
    else:
        grades = output.grades.double()
        along = output.log_slices.exp().split(list(lengths), dim=1)
        flat = output.log_heatmaps.exp()[:, :, None]
        in_plane = torch.stack(
            [_mass(maps, p * p.new_tensor([1, 1, 0])) for maps, p in zip(flat, points, strict=True)]
        )
        sure = in_plane * torch.stack([_along(*pair) for pair in zip(along, points, strict=True)])
    return Outputs(points, grades), sure.clamp(0, 1)


def _mass(heatmaps: Tensor, points: Tensor) -> Tensor:
    """Of heatmaps (P, D, h, w) the probability (P,) near each of ``points`` (P, 3)."""
    _, depth, rows, cols = heatmaps.shape
    z, y, x = (torch.arange(n, device=heatmaps.device) for n in (depth, rows, cols))
    place = points[:, :, None]
    across = (x - place[:, 0]) ** 2
    down = (y - place[:, 1]) ** 2
    near = across[:, None, :] + down[:, :, None] <= _NEAR_PX**2
    beside = (z - place[:, 2]).abs() <= _NEAR_SLICES
    by_slice = (heatmaps * near[:, None]).sum(dim=(2, 3), dtype=torch.float64)
    return (by_slice * beside).sum(dim=1)


def _along(slices: Tensor, points: Tensor) -> Tensor:
    """Of probabilities over slices (P, D) those (P,) near the slice of each of ``points``."""
    z = torch.arange(slices.shape[1], device=slices.device)
    return (slices.double() * ((z - points[:, 2:]).abs() <= _NEAR_SLICES)).sum(dim=1)


def _answer(outputs: Outputs, sure: Tensor, settings: Settings) -> Answer:
    sizes = (settings.canvas_px, settings.image_px, settings.mask_offset)
    points = from_mask(outputs.points, *sizes)
    return Answer(*(part.cpu().numpy() for part in (points, outputs.grades, sure)))
