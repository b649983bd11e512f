"""Parts of the two-stage graders: features of crops that are there, and what reads them in order.

Written after the description of lhwcv's part of the seventh place of RSNA 2024
(lhwcv/solution-rsna-2024-lumbar-spine, MIT). Shapes are those of ``regions.lumbar_views``. All
but the image networks is to be computed in float32 (``full_precision``): it costs next to nothing,
and float16 may overflow in recurrent layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

SIDED_CONDITIONS = 5


class CropFeatures(nn.Module):
    """An image network over crops, (..., channels, y, x) to (..., ``num_features``).

    Crops that are not there are not looked at: their features are zero, and batch statistics
    see none of them. With ``features`` a linear layer follows, as timm's ``num_classes``.
    """

    def __init__(self, backbone: nn.Module, features: int | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.project = nn.Linear(backbone.num_features, features) if features else nn.Identity()
        self.num_features = features or backbone.num_features

    def forward(self, crops: Tensor, there: Tensor) -> Tensor:
        """``crops`` float (*axes, channels, y, x), ``there`` bool (*axes); float32 (*axes, F)."""
        images = crops.flatten(0, there.ndim - 1)
        places = there.flatten().nonzero()[:, 0]
        found = torch.zeros(len(images), self.num_features, device=crops.device)
        if len(places):
            whole = len(places) == len(images)
            features = self.project(self.backbone(images if whole else images[places])).float()
            found = features if whole else found.index_copy(0, places, features)
        return found.unflatten(0, there.shape)


class LevelLstm(nn.Module):
    """Features of the levels of one sided condition, each told of the others.

    A two-layer two-way LSTM along the levels, added to what it reads: (n, levels, features) to
    the same.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(
            features, features // 2, num_layers=2, batch_first=True, bidirectional=True
        )

    def forward(self, features: Tensor) -> Tensor:
        """``features`` (*axes, levels, F) to the same shape."""
        sequences = features.flatten(0, -3)
        read, _ = self.recurrent(sequences)
        return (sequences + read).unflatten(0, features.shape[:-2])


class SequenceGru(nn.Module):
    """The mean over a sequence of what a two-layer two-way GRU says of its images.

    ``num_features`` is twice ``hidden``.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.num_features = 2 * hidden
        self.recurrent = nn.GRU(
            features, hidden, num_layers=2, batch_first=True, bidirectional=True
        )

    def forward(self, features: Tensor) -> Tensor:
        """``features`` (*axes, steps, F), all of one length, to (*axes, ``num_features``)."""
        read, _ = self.recurrent(features.flatten(0, -3))
        return read.mean(dim=1).unflatten(0, features.shape[:-2])

    def of_lengths(self, features: Tensor, lengths: Sequence[int]) -> Tensor:
        """Sequences one after the other (sum of ``lengths``, F) to (n, ``num_features``).

        Each as if it were alone; one of no steps gives zeros.
        """
        parts = features.split(list(lengths))
        found = features.new_zeros(len(parts), self.num_features)
        rows = [row for row, part in enumerate(parts) if len(part)]
        if not rows:
            return found
        packed = pack_sequence([parts[row] for row in rows], enforce_sorted=False)
        read, counts = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        # Beyond a sequence's end the padding is zero: it adds nothing to the sum.
        means = read.sum(dim=1) / counts[:, None].to(read.device)
        return found.index_copy(0, torch.tensor(rows, device=found.device), means)


class ConditionGate(nn.Module):
    """For each sided condition a share of every feature to let through, learnt: (5, features)."""

    def __init__(self, features: int, embedding: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SIDED_CONDITIONS, embedding)
        self.shares = nn.Sequential(
            nn.Linear(embedding, 128),
            nn.ReLU(),
            nn.Linear(128, 256),
            nn.ReLU(),
            nn.Linear(256, features),
            nn.Sigmoid(),
        )

    def forward(self) -> Tensor:
        """Shares from 0 to 1, (sided conditions, features)."""
        return self.shares(self.embedding.weight)


def two_layers(features: int, hidden: int, out: int) -> nn.Sequential:
    """``features`` to ``hidden`` to ``out``, a ReLU between them."""
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, out))


def full_precision(device: torch.device) -> torch.autocast:
    """No mixed precision within, whatever is around it."""
    return torch.autocast(device.type, enabled=False)
