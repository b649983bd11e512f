"""Mixup: rows of a batch blended with others of it (Zhang et al., "mixup", ICLR 2018)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spinegrade.grade.views.settings import Augmentation


class Mixing(NamedTuple):
    """``share`` of each row stays, the rest is that of its ``partner`` (B,)."""

    share: float
    partner: Tensor


def draw_mixing(
    augmentation: Augmentation, epoch: int, rows: int, draws: torch.Generator
) -> Mixing | None:
    """By chance a mixing of ``rows``, in the first ``mixup_epochs`` (``epoch`` from 0).

    The share is uniform from 0 to 1, which is Beta(1, 1). Nothing is drawn where none can be.
    """
    if augmentation.mixup <= 0 or epoch >= augmentation.mixup_epochs:
        return None
    chance, share = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
    partner = torch.randperm(rows, generator=draws)
    return Mixing(share, partner) if chance < augmentation.mixup else None


def mixed(inputs: dict[str, Tensor], mixing: Mixing) -> dict[str, Tensor]:
    """A network's inputs, a row each along the first axis, blended with their partners'.

    An image is there (bool inputs) where it is in either; what is not there is 0. Sequences of an
    ``owner``, one a row at most, are blended as images of their rows.
    """
    if "owner" in inputs:
        return _mixed_sequences(inputs, mixing)
    found = {}
    for name, value in inputs.items():
        partner = mixing.partner.to(value.device)
        if value.dtype == torch.bool:
            found[name] = value | value[partner]
            continue
        there = inputs[f"{name}_there"]
        shown = value.masked_fill(~there.reshape(*there.shape, *[1] * (value.ndim - there.ndim)), 0)
        found[name] = shown * mixing.share + shown[partner] * (1 - mixing.share)
    return found


def _mixed_sequences(inputs: dict[str, Tensor], mixing: Mixing) -> dict[str, Tensor]:
    axial, owner = inputs["axial"], inputs["owner"]
    rows = len(inputs["sagittal"])
    there = torch.zeros(rows, dtype=torch.bool, device=axial.device)
    there[owner] = True
    whole = axial.new_zeros(rows, *axial.shape[1:]).index_copy(0, owner, axial)
    others = {name: value for name, value in inputs.items() if name not in ("axial", "owner")}
    found = mixed({**others, "axial": whole, "axial_there": there}, mixing)
    chosen = found.pop("axial_there").nonzero()[:, 0]
    return {**found, "axial": found["axial"][chosen], "owner": chosen}
