"""What is learnt of axial levels: whole studies, varied, and the loss of a network on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from spinegrade.localise.axial_levels.levels import (
    StudySequence,
    digest_of,
    labels_of,
    read_slices,
)
from spinegrade.localise.axial_levels.network import build_network
from spinegrade.localise.axial_levels.settings import PARTS, Settings
from spinegrade.localise.coordinates.augment import augment, plain
from spinegrade.losses.registry import build as build_loss
from spinegrade.training.task import Moment, mean_loss

# As published: chances, and how far a cell of the distorted grid may shrink or grow.
_FLIP = 0.5
_DISTORT = 0.3
_GRID_CELLS = 5
_GRID_LIMIT = 0.9
_HOLES = 8
_HOLE_SHARES = (8 / 224, 32 / 224)


class LevelBatch(NamedTuple):
    """One study: ``slices`` uint8 (L, image_px, image_px) and its labels; see ``labels_of``."""

    slices: Tensor
    labels: Tensor
    wanted: Tensor
    counted: Tensor
    segments: list[tuple[int, int]]
    places: Tensor


class LevelTask:
    """Levels of axial slices; see ``training.task.Task``."""

    parts = PARTS
    least = 1

    def __init__(self, sequences: list[StudySequence], settings: Settings) -> None:
        self.sequences, self.settings = sequences, settings
        self.studies = tuple(one.study for one in sequences)
        self.loss = build_loss(settings.loss_name, **settings.loss)

    def __len__(self) -> int:
        return len(self.sequences)

    def digest(self) -> str:
        """Fingerprint of the sequences."""
        return digest_of(self.sequences)

    def network(self) -> nn.Module:
        """The untrained network."""
        return build_network(self.settings, self.settings.encoder["pretrained"])

    def read(self, rows: NDArray[np.int64], seed: int) -> list[LevelBatch]:
        """The studies at ``rows``, read from their volumes; nothing is drawn."""
        found = []
        for row in rows:
            sequence = self.sequences[row]
            labels = (torch.from_numpy(part) for part in labels_of(sequence))
            slices = torch.from_numpy(read_slices(self.settings, sequence.look))
            places = torch.from_numpy(sequence.places).float()
            found.append(LevelBatch(slices, *labels, sequence.segments, places))
        return found

    def losses(self, network: nn.Module, batch: list[LevelBatch], at: Moment) -> Tensor:
        """Losses by ``parts`` (3,); slices are varied where there are draws."""
        with at.autocast():
            losses = [self._losses(network, one, at.device, at.draws) for one in batch]
            return torch.stack(losses).mean(dim=0)

    def choice(self, network: nn.Module, at: Moment) -> float:
        """The mean loss."""
        return mean_loss(self, network, at)

    def record(self) -> dict[str, Any]:
        """Nothing: what prediction needs is in the settings."""
        return {}

    def _losses(
        self,
        network: nn.Module,
        batch: LevelBatch,
        device: torch.device,
        draws: torch.Generator | None,
    ) -> Tensor:
        exchanged = False
        slices = batch.slices.to(device, non_blocking=True)
        if draws is None:
            seen = plain(slices)
        else:
            seen, mirrored = varied(slices, self.settings, draws)
            exchanged = mirrored and not self.settings.keeps("flip")
        sides = (batch.wanted, batch.counted, batch.places)
        # A mirrored patient's left is the right.
        wanted, counted, places = (part.flip(1) if exchanged else part for part in sides)
        found = network(seen)
        return self.loss(
            found.levels.float(),
            found.sides.float(),
            batch.labels.to(device),
            wanted.to(device),
            counted.to(device),
            batch.segments,
            places.to(device),
        )


def varied(slices: Tensor, settings: Settings, generator: torch.Generator) -> tuple[Tensor, bool]:
    """Varied ``slices`` uint8 (L, S, S) as float in -1 .. 1, and whether they were mirrored.

    All of a study alike: flips of columns (left and right) and of rows, then as ``augment`` does,
    a grid whose columns and rows are of uneven width, and black holes.
    """
    draws = torch.rand(6 + 2 * _GRID_CELLS, generator=generator, dtype=torch.float64)
    mirrored, upside_down, distorted, holed = (draws[:4] < torch.tensor(
        [_FLIP, _FLIP, _DISTORT, settings.augmentation.chance]
    )).tolist()  # fmt: skip
    if mirrored:
        slices = slices.flip(2)
    if upside_down:
        slices = slices.flip(1)
    none = torch.zeros(1, 0, 3)
    seen = augment(slices[None, None], none, settings.augmentation, generator)[0][0, 0]
    if distorted:
        seen = _uneven(seen, *draws[6:].view(2, _GRID_CELLS))
    if holed:
        _cut_holes(seen, 1 + int(draws[4] * _HOLES), generator)
    return seen, mirrored


def _uneven(seen: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """``seen`` (L, S, S) through a grid of cells whose widths are drawn, the frame's edge fixed."""
    lines = []
    for drawn in (across, down):
        widths = 1 + (2 * drawn - 1) * _GRID_LIMIT
        edges = torch.cat([torch.zeros(1, dtype=widths.dtype), widths.cumsum(0)]) / widths.sum()
        even = torch.linspace(0, 1, seen.shape[-1], dtype=torch.float64) * _GRID_CELLS
        cell = even.floor().clamp(max=_GRID_CELLS - 1).long()
        places = edges[cell] + (edges[cell + 1] - edges[cell]) * (even - cell)
        lines.append((places * 2 - 1).float().to(seen.device))
    grid = torch.stack(torch.meshgrid(*lines, indexing="xy"), dim=-1)[None]
    # Slices as channels share the interpolation's weights.
    return functional.grid_sample(seen[None], grid, align_corners=True)[0]


def _cut_holes(seen: Tensor, holes: int, generator: torch.Generator) -> None:
    """Black rectangles in every slice alike, in place."""
    side = seen.shape[-1]
    least, most = _HOLE_SHARES
    drawn = torch.rand(holes, 4, generator=generator, dtype=torch.float64)
    for high, wide, down, across in drawn.tolist():
        rows, cols = (max(1, round((least + (most - least) * s) * side)) for s in (high, wide))
        top, left = int(down * (side - rows + 1)), int(across * (side - cols + 1))
        seen[:, top : top + rows, left : left + cols] = -1
