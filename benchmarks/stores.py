"""The ways to keep a volume on disk that volume_storage.py compares, all without loss.

Each writes one file a stack and reads from it, opened anew, a box of voxels or all of them.
Slices that are compressed one by one lie behind a table of where each starts.
"""

from __future__ import annotations

import gzip
import itertools
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from spinegrade.convert.header import Frame, read_frames
from spinegrade.convert.nifti import write_volume
from spinegrade.convert.pixels import decode_volume
from spinegrade.geometry.affine import Affine
from spinegrade.volumes import open_volume

Voxels = NDArray[np.generic]
Box = tuple[slice, slice, slice]
MAX_FRAME_MB = 64.0


@dataclass(frozen=True)
class Volume:
    """A converted stack, its affine, and the DICOM files of its slices in index order."""

    name: str
    voxels: Voxels
    affine: Affine
    files: list[tuple[Path, int]]


@dataclass(frozen=True)
class Store:
    """A format: ``write(volume, path)``, ``crop(path, volume, box)``, ``whole(path, volume)``.

    A reader takes shape and type from the volume only where its file does not say them; a table
    of the stacks would. ``write`` None: nothing is written, the files are there.
    """

    name: str
    suffix: str
    write: Callable[[Volume, Path], None] | None
    crop: Callable[[Path, Volume, Box], Voxels]
    whole: Callable[[Path, Volume], Voxels]


def _nifti() -> Store:
    return Store(
        "NIfTI, uncompressed",
        ".nii",
        lambda volume, path: write_volume(path, volume.voxels, volume.affine, 0.0, 1.0),
        lambda path, volume, box: np.array(open_volume(path)[box]),
        lambda path, volume: np.array(open_volume(path)),
    )


def _npy() -> Store:
    return Store(
        "NPY, uncompressed",
        ".npy",
        lambda volume, path: np.save(path, volume.voxels, allow_pickle=False),
        lambda path, volume, box: np.array(np.load(path, mmap_mode="r", allow_pickle=False)[box]),
        lambda path, volume: np.load(path, allow_pickle=False),
    )


def _gzip(level: int) -> Store:
    def write(volume: Volume, path: Path) -> None:
        image = nibabel.Nifti1Image(volume.voxels.T, None)
        image.header["vox_offset"] = 0
        with gzip.open(path, "wb", compresslevel=level) as file:
            file.write(image.to_bytes())

    def crop(path: Path, volume: Volume, box: Box) -> Voxels:
        return np.asarray(nibabel.load(path).dataobj[box[2], box[1], box[0]]).T

    def whole(path: Path, volume: Volume) -> Voxels:
        return np.asarray(nibabel.load(path).dataobj).T

    return Store(f"NIfTI, gzip level {level}", ".nii.gz", write, crop, whole)


def _parquet() -> Store:
    """A row and a row group a slice, so that a crop reads its slices alone."""

    def write(volume: Volume, path: Path) -> None:
        table = pa.table({"pixels": pa.array([one.tobytes() for one in volume.voxels])})
        pq.write_table(table, path, row_group_size=1, compression="zstd", use_dictionary=False)

    def rows(path: Path, volume: Volume, wanted: range) -> Voxels:
        shape = (-1, *volume.voxels.shape[1:])
        column = pq.ParquetFile(path).read_row_groups(list(wanted))["pixels"]
        values = [np.frombuffer(value.as_buffer(), volume.voxels.dtype) for value in column]
        return np.concatenate(values).reshape(shape)

    def crop(path: Path, volume: Volume, box: Box) -> Voxels:
        return rows(path, volume, range(box[0].start, box[0].stop))[:, box[1], box[2]]

    def whole(path: Path, volume: Volume) -> Voxels:
        return rows(path, volume, range(len(volume.voxels)))

    return Store("Parquet, zstd, a row a slice", ".parquet", write, crop, whole)


def _by_slice(
    name: str, encode: Callable[[Voxels], bytes], decode: Callable[[bytes, Voxels], object]
) -> Store:
    """Slices compressed one by one; ``decode`` fills the slice that it is given."""

    def write(volume: Volume, path: Path) -> None:
        streams = [encode(np.ascontiguousarray(one)) for one in volume.voxels]
        starts = np.cumsum([8 * len(streams) + 8, *map(len, streams)])
        with path.open("wb") as file:
            file.write(starts.astype("<u8").tobytes())
            file.writelines(streams)

    def slices(path: Path, volume: Volume, wanted: range) -> Voxels:
        out = np.empty((len(wanted), *volume.voxels.shape[1:]), volume.voxels.dtype)
        file = os.open(path, os.O_RDONLY)
        try:
            form = f"<{len(wanted) + 1}Q"
            starts = struct.unpack(form, os.pread(file, struct.calcsize(form), 8 * wanted.start))
            for place, (start, stop) in enumerate(itertools.pairwise(starts)):
                decode(os.pread(file, stop - start, start), out[place])
        finally:
            os.close(file)
        return out

    def crop(path: Path, volume: Volume, box: Box) -> Voxels:
        return slices(path, volume, range(box[0].start, box[0].stop))[:, box[1], box[2]]

    def whole(path: Path, volume: Volume) -> Voxels:
        return slices(path, volume, range(len(volume.voxels)))

    return Store(name, ".slices", write, crop, whole)


def _blosc2() -> Store:
    def encode(one: Voxels) -> bytes:
        # Shuffle 2: bit by bit, which suits 12 bits in 16.
        options = {"level": 5, "compressor": "lz4", "shuffle": 2, "typesize": one.itemsize}
        return bytes(imagecodecs.blosc2_encode(one, numthreads=1, **options))

    return _by_slice(
        "blosc2, lz4 and bit shuffle, by slice",
        encode,
        lambda data, out: imagecodecs.blosc2_decode(
            data, numthreads=1, out=out.reshape(-1).view(np.uint8)
        ),
    )


def _jpeg_ls() -> Store:
    return _by_slice(
        "JPEG-LS, by slice",
        lambda one: bytes(imagecodecs.jpegls_encode(one)),
        lambda data, out: imagecodecs.jpegls_decode(data, out=out),
    )


def _jpeg_2000() -> Store:
    def encode(one: Voxels) -> bytes:
        options = {"level": 0, "reversible": True, "codecformat": "j2k", "numthreads": 1}
        return bytes(imagecodecs.jpeg2k_encode(one, **options))

    return _by_slice(
        "JPEG 2000, by slice",
        encode,
        lambda data, out: imagecodecs.jpeg2k_decode(data, numthreads=1, out=out),
    )


def _dicom() -> Store:
    """The files as delivered, read by the convert room; nothing is written."""

    def frames(files: list[tuple[Path, int]]) -> list[Frame]:
        return [read_frames(path, MAX_FRAME_MB)[number] for path, number in files]

    def crop(path: Path, volume: Volume, box: Box) -> Voxels:
        return decode_volume(frames(volume.files[box[0]]))[:, box[1], box[2]]

    return Store(
        "the DICOM files as delivered",
        "",
        None,
        crop,
        lambda path, volume: decode_volume(frames(volume.files)),
    )


def stores() -> list[Store]:
    """Every format that is compared, the one in use first."""
    return [
        _nifti(),
        _npy(),
        _gzip(1),
        _gzip(6),
        _parquet(),
        _blosc2(),
        _jpeg_ls(),
        _jpeg_2000(),
        _dicom(),
    ]
