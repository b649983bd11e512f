"""What is learnt of heatmaps: batches of grids, and the losses of a network on one."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinegrade.localise.heatmap.augment import Strength, augment
from spinegrade.localise.heatmap.detector import build_network, normalised
from spinegrade.localise.heatmap.offsets import Offsets
from spinegrade.localise.heatmap.samples import Samples
from spinegrade.localise.heatmap.settings import PARTS, Settings
from spinegrade.localise.heatmap.steps import fit_steps
from spinegrade.losses.registry import build as build_loss
from spinegrade.training.task import Moment, mean_loss


class GridBatch(NamedTuple):
    """``images`` uint8 (B, slices, rows, cols), ``points`` (B, P, 3), ``known`` (B, P)."""

    images: Tensor
    points: Tensor
    known: Tensor


class HeatmapTask:
    """Grids of stacks with their points; see ``training.task.Task``."""

    parts = PARTS
    least = 2

    def __init__(self, samples: Samples, settings: Settings, offsets: Offsets) -> None:
        self.samples, self.settings, self.offsets = samples, settings, offsets
        self.studies = samples.studies
        strength = {k: v for k, v in settings.block["augment"].items() if k != "margin_px"}
        self.strength = Strength(**strength)
        # What is not varied is seen as by prediction: nothing moved, nothing lost.
        self.still = Strength(*(0.0 for _ in self.strength))

    def __len__(self) -> int:
        return len(self.samples)

    def digest(self) -> str:
        """Fingerprint of grids and points."""
        samples = self.samples
        digest = hashlib.sha256(repr((samples.images.shape, samples.studies)).encode())
        for array in (samples.images, samples.points, samples.known):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    def network(self) -> nn.Module:
        """The untrained network."""
        return build_network(self.settings)

    def read(self, rows: NDArray[np.int64], seed: int) -> GridBatch:
        """The samples at ``rows``; nothing is drawn."""
        arrays = (self.samples.images, self.samples.points, self.samples.known)
        return GridBatch(*(torch.from_numpy(array[rows]) for array in arrays))

    def losses(self, network: nn.Module, batch: GridBatch, at: Moment) -> Tensor:
        """Losses (2,) in the plane and along slices; images are varied where there are draws."""
        grid, target, widths = self.settings.grid, self.settings.target, dict(self.settings.loss)
        varied = augment(
            *(part.to(at.device, non_blocking=True) for part in batch),
            strength=self.still if at.draws is None else self.strength,
            plane=target.plane,
            mirror=target.mirror,
            size=(grid["rows"], grid["cols"]),
            pixel_mm=grid["pixel_mm"],
            slice_mm=grid["slice_mm"],
            generator=at.draws or torch.Generator(),
        )
        with at.autocast():
            found = network(normalised(varied.images))
        loss = build_loss(
            self.settings.loss_name,
            sigma_px=widths.pop("sigma_mm") / (grid["pixel_mm"] * network.stride),
            **widths,
        )
        parts = loss(
            found.in_plane.float(),
            None if found.slices is None else found.slices.float(),
            varied.points,
            varied.known,
            stride=network.stride,
        )
        return torch.stack(list(parts))

    def choice(self, network: nn.Module, at: Moment) -> float:
        """The mean loss."""
        return mean_loss(self, network, at)

    def record(self) -> dict[str, Any]:
        """Steps from level to level and from the foramina to the canal, which place the levels."""
        grid, target, samples = self.settings.grid, self.settings.target, self.samples
        steps = None
        if target.plane == "sagittal":
            unit_mm = (grid["pixel_mm"], grid["pixel_mm"], grid["slice_mm"])
            steps = fit_steps(samples.points, samples.known, target.chains, unit_mm)
        return {"steps": steps.to_lists() if steps else None, "offsets": self.offsets}
