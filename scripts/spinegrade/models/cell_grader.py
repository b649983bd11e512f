"""Grades of cells from their crops: evidence of every view added to the prior.

The logits of a cell are log prior of its condition and level (fixed, from the training
labels), plus one learned linear term a view (crop). A cell that lacks a view simply
lacks its term; a network that has learned nothing predicts the prior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from spinegrade.models.registry import build as build_model


class CellGrader(nn.Module):
    """Encoders of roi sets, linear heads for (condition, roi set), and the prior.

    ``views`` lists (condition, roi set) pairs in the order of the heads. With
    ``share_encoder`` one network reads the crops of all roi sets, which then must have one
    shape; else each has its own. ``prior`` (conditions, levels, 3) float32 log weights.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        views: Sequence[tuple[str, str]],
        prior: Tensor,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.views = list(views)
        self.heads = nn.ModuleList()
        for _, roi_set in self.views:
            head = nn.Linear(self.encoder_of(roi_set).num_features, 3)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            self.heads.append(head)
        self.register_buffer("prior", prior.clone())

    def silent_views(self) -> list[tuple[str, str]]:
        """The views whose terms are still the zeros that they start as: no crop taught them."""
        pairs = zip(self.views, self.heads, strict=True)
        return [view for view, head in pairs if not (head.weight.any() or head.bias.any())]

    def encoder_of(self, roi_set: str) -> nn.Module:
        """The network that reads the crops of ``roi_set``."""
        return self.encoders[roi_set if roi_set in self.encoders else "shared"]

    def forward(
        self,
        crops: Mapping[str, Tensor],
        heads: Mapping[str, Tensor],
        cells: Mapping[str, Tensor],
        conditions: Tensor,
        levels: Tensor,
    ) -> Tensor:
        """Logits (n, 3) float32 of n cells.

        For each roi set: ``crops`` (m, slices, h, w), ``heads`` (m,) int64 place of each
        crop's head in ``views``, ``cells`` (m,) int64 the cell it belongs to.
        ``conditions`` and ``levels`` (n,) int64 index the prior.
        """
        logits = self.prior[conditions, levels].float()
        for encoder_name, sets in self._passes(crops).items():
            joined = torch.cat([crops[name] for name in sets])
            features = self.encoders[encoder_name](joined).float()
            head = torch.cat([heads[name] for name in sets])
            cell = torch.cat([cells[name] for name in sets])
            weight = torch.stack([layer.weight for layer in self.heads])[head]
            bias = torch.stack([layer.bias for layer in self.heads])[head]
            terms = torch.einsum("mf,mgf->mg", features, weight) + bias
            logits = logits.index_add(0, cell, terms)
        return logits

    def _passes(self, crops: Mapping[str, Tensor]) -> dict[str, list[str]]:
        passes: dict[str, list[str]] = {}
        for roi_set, pixels in crops.items():
            if len(pixels):
                name = roi_set if roi_set in self.encoders else "shared"
                passes.setdefault(name, []).append(roi_set)
        return passes


def build(
    architecture: str,
    encoder: Mapping[str, object],
    views: Sequence[tuple[str, str]],
    shapes: Mapping[str, tuple[int, int]],
    share_encoder: bool,
    prior: Tensor,
) -> CellGrader:
    """A grader whose encoders are ``architecture`` with the options ``encoder``.

    ``shapes`` gives (slices, pixels a side) of each roi set's crops.
    """
    if share_encoder:
        slices, image_px = next(iter(shapes.values()))
        names = {"shared": (slices, image_px)}
    else:
        names = dict(shapes)
    encoders = {
        name: build_model(architecture, slices=slices, image_px=image_px, **encoder)
        for name, (slices, image_px) in names.items()
    }
    return CellGrader(encoders, views, prior)
