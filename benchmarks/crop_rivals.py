"""The ways to read crops that crop_reading.py compares; each answers the same windows.

A rival keeps (or does not keep) the slices of a stack as the published systems do: resized to a
square frame, uint8. The package's own stores are read as training reads them.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from spinegrade.volumes import Stack

Pixels = NDArray[np.uint8]
PERCENTILES = (1.0, 99.5)


@dataclass(frozen=True)
class Source:
    """An axial stack, its DICOM files in the order of its index, and where rivals keep it."""

    stack: Stack
    files: list[Path]
    folder: Path
    frame_px: int

    def frames(self) -> Pixels:
        """The stack as the published systems prepare it, uint8 (slices, frame_px, frame_px)."""
        return framed([np.asarray(one, np.float32) for one in self.stack.open()], self.frame_px)


@dataclass(frozen=True)
class Item:
    """What one training sample shows of a stack: ``windows`` (n, 3) of (slice, left, top) in the
    frame, ``size`` pixels a side; ``rows`` are the places of the same in the package's store.
    """

    source: Source
    windows: NDArray[np.int64]
    size: int
    rows: NDArray[np.int64]

    def cut(self, slices: Callable[[int], Pixels]) -> Pixels:
        """The windows, uint8 (n, size, size), 0 outside; ``slices`` gives a slice by its index."""
        out = np.zeros((len(self.windows), self.size, self.size), np.uint8)
        for place, (index, left, top) in enumerate(self.windows.tolist()):
            image = slices(index)
            rows, cols = max(top, 0), max(left, 0)
            part = image[rows : top + self.size, cols : left + self.size]
            row, col = rows - top, cols - left
            out[place, row : row + part.shape[0], col : col + part.shape[1]] = part
        return out


def framed(slices: list[NDArray[np.float32]], frame_px: int) -> Pixels:
    """Slices resized to the frame, then clipped and scaled over the whole volume, as published.

    By OpenCV, which takes a small part of the time of the published scikit-image.
    """
    resized = np.stack([cv2.resize(one, (frame_px, frame_px)) for one in slices])
    low, high = np.percentile(resized, PERCENTILES)
    scaled = (resized - np.float32(low)) * np.float32(255 / max(high - low, 1e-6))
    return scaled.clip(0, 255).astype(np.uint8)


@dataclass
class NpzVolume:
    """The prepared volume in one compressed npz a stack, from which crops are cut."""

    name: str = "compressed npz of the volume"

    def keep(self, item: Item) -> None:
        """Write the volume if it is not there."""
        path = item.source.folder / "volume.npz"
        if not path.exists():
            np.savez_compressed(path, volume=item.source.frames())

    def read(self, item: Item) -> Pixels:
        """The item's windows."""
        with np.load(item.source.folder / "volume.npz", allow_pickle=False) as kept:
            return item.cut(kept["volume"].__getitem__)


@dataclass
class NpzCrops:
    """The item's own windows, ready cut, in one compressed npz an item."""

    name: str = "compressed npz of ready crops"

    def path(self, item: Item) -> Path:
        """Where the item's windows are."""
        return item.source.folder / f"crops_{zlib.crc32(item.rows.tobytes())}.npz"

    def keep(self, item: Item) -> None:
        """Write the windows if they are not there."""
        if not self.path(item).exists():
            np.savez_compressed(self.path(item), crops=item.cut(item.source.frames().__getitem__))

    def read(self, item: Item) -> Pixels:
        """The item's windows."""
        with np.load(self.path(item), allow_pickle=False) as kept:
            return kept["crops"]


@dataclass
class Pngs:
    """A PNG a slice; those that an item needs are read once each."""

    name: str = "PNG slices, read and cropped"

    def keep(self, item: Item) -> None:
        """Write the slices if they are not there."""
        if not (item.source.folder / "0.png").exists():
            for number, image in reversed(list(enumerate(item.source.frames()))):
                cv2.imwrite(str(item.source.folder / f"{number}.png"), image)

    def read(self, item: Item) -> Pixels:
        """The item's windows."""
        images = {
            index: cv2.imread(str(item.source.folder / f"{index}.png"), cv2.IMREAD_GRAYSCALE)
            for index in set(item.windows[:, 0].tolist())
        }
        return item.cut(images.__getitem__)


@dataclass
class Dicom:
    """Every slice decoded, resized and scaled again for each item, as the v24 axial model does."""

    name: str = "DICOM, decoded for each item"

    def keep(self, item: Item) -> None:
        """Nothing: the files are there."""

    def read(self, item: Item) -> Pixels:
        """The item's windows."""
        slices = [
            pydicom.dcmread(path).pixel_array.astype(np.float32) for path in item.source.files
        ]
        return item.cut(framed(slices, item.source.frame_px).__getitem__)


@dataclass
class Package:
    """The package's store: ``take`` gives the pixels of rows, (n, ..., size, size)."""

    take: Callable[[NDArray[np.int64]], Pixels]
    name: str = "this package's store"

    def keep(self, item: Item) -> None:
        """Nothing: the rules have written it."""

    def read(self, item: Item) -> Pixels:
        """The item's windows."""
        return self.take(item.rows).reshape(-1, item.size, item.size)
