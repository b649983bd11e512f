"""The published training step of the one-stage system, written down plainly.

hengck23's part of the seventh place of RSNA 2024: the encoder sees the slices of all volumes at
once; one volume at a time goes through the three-dimensional decoder, where maps are upsampled
and concatenated, and through the heads, where a volume of 128 channels is made and weighed;
samples are resized, warped, blurred and made to tensors by OpenCV in the loader's workers. Names
of layers are those of ``spinegrade.models.one_stage_*``, so that each loads the other's weights.
The tests hold the package's networks to these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

CANVAS_PX = 512


class Block(nn.Module):
    """Upsample, concatenate, then convolution, normalisation and ReLU twice."""

    def __init__(self, dimensions: int, channels_in: int, width: int) -> None:
        super().__init__()
        convolution, norm = (
            (nn.Conv3d, nn.BatchNorm3d) if dimensions == 3 else (nn.Conv2d, nn.BatchNorm2d)
        )
        self.scale = (1, 2, 2) if dimensions == 3 else (2, 2)
        self.conv1 = convolution(channels_in, width, 3, padding=1, bias=False)
        self.norm1 = norm(width)
        self.conv2 = convolution(width, width, 3, padding=1, bias=False)
        self.norm2 = norm(width)

    def forward(self, low: Tensor, skip: Tensor) -> Tensor:
        low = functional.interpolate(low, scale_factor=self.scale, mode="nearest")
        features = self.norm1(self.conv1(torch.cat([low, skip], dim=1))).relu_()
        return self.norm2(self.conv2(features)).relu_()


def _decoder(dimensions: int, channels: Sequence[int], widths: Sequence[int]) -> nn.ModuleList:
    *skipped, below = channels
    blocks = nn.ModuleList()
    for skip, width in zip(reversed(skipped), widths, strict=True):
        blocks.append(Block(dimensions, below + skip, width))
        below = width
    return blocks


def _wide(values: Tensor) -> Tensor:
    """As autocast on a GPU hands values to a softmax."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class PlainForaminal(nn.Module):
    """Log-heatmaps (a list, a volume each (points, D, h, w)), points and grade logits."""

    def __init__(self, encoder: nn.Module, widths: Sequence[int] = (384, 192, 96)) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = _decoder(3, encoder.channels, widths)
        self.heatmap = nn.Conv3d(widths[-1], 10, 1)
        self.feature = nn.Conv3d(widths[-1], 128, 1)
        self.grade = nn.Sequential(
            nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 3)
        )

    def forward(self, slices: Tensor, lengths: Sequence[int]) -> tuple[list[Tensor], ...]:
        maps = self.encoder.network(slices.expand(-1, 3, -1, -1))[-4:]
        split = [m.split(list(lengths)) for m in maps]
        heatmaps, points, pooled = [], [], []
        for volume in range(len(lengths)):
            *skipped, features = [s[volume].permute(1, 0, 2, 3)[None].contiguous() for s in split]
            for block, skip in zip(self.decoder, reversed(skipped), strict=True):
                features = block(features, skip)
            logits = _wide(self.heatmap(features)[0])
            log_heatmap = logits.flatten(1).log_softmax(dim=1).view_as(logits)
            heatmap = log_heatmap.exp()
            graded = self.feature(features)[0]
            pooled.append(torch.einsum("pdhw,cdhw->pc", heatmap, graded))
            heatmaps.append(log_heatmap)
            points.append(_places(heatmap))
        grades = self.grade(torch.cat(pooled)).view(len(lengths), 10, 3)
        return heatmaps, torch.stack(points), grades


def _places(heatmap: Tensor) -> Tensor:
    """Expected (x, y, z), (points, 3), of (points, D, h, w)."""
    along = [torch.arange(n, dtype=heatmap.dtype, device=heatmap.device) for n in heatmap.shape[1:]]
    z = (heatmap.sum(dim=(2, 3)) * along[0]).sum(dim=1)
    y = (heatmap.sum(dim=(1, 3)) * along[1]).sum(dim=1)
    x = (heatmap.sum(dim=(1, 2)) * along[2]).sum(dim=1)
    return torch.stack([x, y, z], dim=1)


class PlainCanal(nn.Module):
    """Log-probabilities of slices (a list), log-heatmaps, points, grades, grades of pixels."""

    def __init__(self, encoder: nn.Module, widths: Sequence[int] = (384, 192, 96)) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = _decoder(2, encoder.channels, widths)
        width = widths[-1]
        self.slice_head = nn.Sequential(
            nn.Linear(width, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 5)
        )
        heads = [
            nn.Sequential(
                nn.Conv2d(width, 64, 1), nn.BatchNorm2d(64), nn.SiLU(), nn.Conv2d(64, outputs, 1)
            )
            for outputs in (5, 3)
        ]
        self.level_head, self.grade_head = heads

    def forward(self, slices: Tensor, lengths: Sequence[int]) -> tuple[Any, ...]:
        *skipped, features = self.encoder.network(slices.expand(-1, 3, -1, -1))[-4:]
        for block, skip in zip(self.decoder, reversed(skipped), strict=True):
            features = block(features, skip)
        in_slices = _wide(self.slice_head(features.mean(dim=(2, 3)))).split(list(lengths))
        log_slices = [part.t().log_softmax(dim=1) for part in in_slices]
        pooled = []
        for part, volume in zip(log_slices, features.split(list(lengths)), strict=True):
            mean = part.exp().mean(dim=0)
            centre = round((mean * torch.arange(len(mean), device=mean.device)).sum().item())
            pooled.append(volume[max(centre - 3, 0) : centre + 4].mean(dim=0))
        pooled = torch.stack(pooled)
        levels = _wide(self.level_head(pooled))
        log_heatmaps = levels.flatten(2).log_softmax(dim=2).view_as(levels)
        heatmaps = log_heatmaps.exp()
        pixel_grades = _wide(self.grade_head(pooled)).softmax(dim=1)
        grades = (heatmaps[:, :, None] * pixel_grades[:, None]).sum(dim=(3, 4))
        best = torch.stack([part.argmax(dim=1) for part in log_slices])
        points = torch.stack([_places(volume[:, None])[:, :2] for volume in heatmaps])
        points = torch.cat([points, best[..., None].float()], dim=2)
        return log_slices, log_heatmaps, points, grades, pixel_grades


def plain_augment(
    volume: NDArray[np.uint8],
    points: NDArray[np.float32],
    mean_shape: NDArray[np.float32],
    image_px: int,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Augment (rows, cols, slices) with points (P, 3) in the order published; canvas px."""
    canvas = volume.shape[0]
    points = points.copy()
    if random.random() < 0.5:
        volume = volume[:, :, ::-1]
        points[:, 2] = volume.shape[2] - 1 - points[:, 2]
        half = len(points) // 2
        points = np.concatenate([points[half:], points[:half]])
    volume = np.ascontiguousarray(volume)
    chosen = random.choice(3, p=(0.1, 0.7, 0.2))
    if chosen:
        matrix = _movement(chosen, points, mean_shape, canvas, random)
        volume = cv2.warpPerspective(volume, matrix, (canvas, canvas))
        points[:, :2] = cv2.perspectiveTransform(points[None, :, :2], matrix)[0]
    top = int(points[:, 1].min())
    if random.random() < 0.5 and top > 2:
        width, height = random.integers(10, canvas), random.integers(1, top)
        x, y = random.integers(0, canvas - width), random.integers(0, top - height)
        volume[y : y + height, x : x + width] = 0
    volume = cv2.resize(volume, (image_px, image_px), interpolation=cv2.INTER_LINEAR)
    if random.random() < 0.75:
        factor, offset = 1 + random.uniform(-0.2, 0.2), random.uniform(-0.2, 0.2) * 255
        table = np.clip(np.arange(256) * factor + offset, 0, 255).astype(np.uint8)
        volume = cv2.LUT(volume, table)
    if random.random() < 0.5:
        volume = _disturbed(volume, random)
    return volume, points


def _movement(
    chosen: int,
    points: NDArray[np.float32],
    mean_shape: NDArray[np.float32],
    canvas: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    flat = np.ascontiguousarray(points[:, :2])
    for _ in range(20):
        matrix = np.eye(3)
        if chosen == 1:
            found, _ = cv2.estimateAffinePartial2D(flat, mean_shape)
            matrix[:2] = np.eye(2, 3) if found is None else found
            turn = np.eye(3)
            angle, scale = random.uniform(-20, 20), 1 + random.uniform(-0.25, 0.35)
            turn[:2] = cv2.getRotationMatrix2D((0.0, 0.0), angle, scale)
            matrix = turn @ matrix
            moved = cv2.perspectiveTransform(flat[None], matrix)[0]
            shift = canvas / 2 - (moved.min(axis=0) + moved.max(axis=0)) / 2
            matrix[:2, 2] += shift
        else:
            corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * canvas
            away = random.uniform(-0.25, 0.25, (4, 2)).astype(np.float32) * canvas
            matrix = cv2.getPerspectiveTransform(corners, corners + away)
        moved = cv2.perspectiveTransform(flat[None], matrix)[0]
        if moved.min() > 5 and moved.max() < canvas - 5:
            return matrix
    return np.eye(3)


def _disturbed(volume: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    kind, size = random.integers(4), int(random.choice((3, 5)))
    if kind == 0:
        kernel = np.zeros((size, size), np.float32)
        start, end = random.integers(0, size, (2, 2)).tolist()
        cv2.line(kernel, start, end, 1.0)
        return cv2.filter2D(volume, -1, kernel / kernel.sum())
    if kind == 1:
        parts = [cv2.medianBlur(np.ascontiguousarray(s), size) for s in volume.transpose(2, 0, 1)]
        return np.stack(parts, axis=2)
    if kind == 2:
        return cv2.GaussianBlur(volume, (size, size), 0)
    noise = random.standard_normal(volume.shape, np.float32) * np.sqrt(random.uniform(10, 50))
    return np.clip(volume + noise, 0, 255).astype(np.uint8)


class PlainSamples(Dataset):
    """Endless augmented samples: image (S, 1, px, px) float, points in mask px, grades, length."""

    def __init__(
        self,
        volumes: Sequence[NDArray[np.uint8]],
        points: NDArray[np.float32],
        grades: NDArray[np.int64],
        image_px: int,
        count: int,
    ) -> None:
        self.volumes, self.points, self.grades = volumes, points, grades
        self.image_px, self.count = image_px, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        random = np.random.default_rng(index)
        which = index % len(self.volumes)
        canvas = self.volumes[which].shape[1]
        volume = np.ascontiguousarray(self.volumes[which].transpose(1, 2, 0))
        mean_shape = self.points[..., :2].mean(axis=0)
        seen, points = plain_augment(volume, self.points[which], mean_shape, self.image_px, random)
        slices = np.ascontiguousarray(seen.transpose(2, 0, 1))
        points[:, :2] *= self.image_px / 4 / canvas
        image = (torch.from_numpy(slices).float()[:, None] / 255 - 0.5) / 0.5
        return image, torch.from_numpy(points), torch.from_numpy(self.grades[which])


def one_thread(worker: int) -> None:
    """Workers share the cores as it is."""
    cv2.setNumThreads(1)


def collate(samples: list[tuple[Tensor, ...]]) -> tuple[Tensor, list[int], Tensor, Tensor]:
    """Slices one after the other, lengths, points, grades."""
    images, points, grades = zip(*samples, strict=True)
    lengths = [len(image) for image in images]
    return torch.cat(images), lengths, torch.stack(points), torch.stack(grades)
