"""Hand-made DICOM series with known voxels at known places, as bare as the real ones."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

SAGITTAL = np.array([0.0, 1.0, 0.0, 0.0, 0.0, -1.0])
AXIAL = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def tilted_axial(degrees: float) -> NDArray[np.float64]:
    """Axial slices tilted about the left-right axis."""
    angle = np.radians(degrees)
    return np.array([1.0, 0.0, 0.0, 0.0, np.cos(angle), np.sin(angle)])


def write_slice(
    path: Path,
    pixels: NDArray[np.generic],
    orientation: NDArray[np.float64],
    position: NDArray[np.float64],
    instance: int,
    spacing: tuple[float, float] = (0.5, 0.5),
    syntax: str = ExplicitVRLittleEndian,
    **changes: object,
) -> Path:
    """Write one slice; ``changes`` set elements by keyword, or remove them with None."""
    dataset = Dataset()
    dataset.SOPClassUID = MR_IMAGE
    dataset.SOPInstanceUID = "1.2.3"  # the same in every slice, as in the real studies
    dataset.SliceThickness = "4"
    dataset.InstanceNumber = str(instance)
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in position]
    dataset.ImageOrientationPatient = [f"{value:.12f}" for value in orientation]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelSpacing = [str(value) for value in spacing]
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = bits
    dataset.BitsStored = 12 if pixels.dtype == np.uint16 else bits
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MR_IMAGE
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.add_new("PixelData", "OW", np.ascontiguousarray(pixels).tobytes())
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif syntax != ExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([bytes(dataset.PixelData)])
        dataset["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def voxels(slices: int, rows: int, cols: int, seed: int = 0) -> NDArray[np.uint16]:
    """Random 12-bit voxels (slices, rows, cols), runs included so that RLE has work."""
    generator = np.random.default_rng(seed)
    volume = generator.integers(0, 4096, (slices, rows, cols)).astype(np.uint16)
    volume[:, : rows // 3] = 7
    return volume


def write_stack(
    folder: Path,
    volume: NDArray[np.generic],
    orientation: NDArray[np.float64],
    first: tuple[float, float, float] = (0.0, 0.0, 0.0),
    step: float = 4.0,
    heights: list[float] | None = None,
    shuffle: int | None = 1,
    start: int = 1,
    **changes: object,
) -> dict[int, int]:
    """Write a volume's slices along the orientation's normal; {instance number: slice}.

    ``heights`` replaces even steps (mm along the normal row x column). ``shuffle`` mixes the
    instance numbers (and with them the file names), so that they say nothing of the order.
    """
    normal = np.cross(orientation[:3], orientation[3:])
    heights = heights or [step * place for place in range(len(volume))]
    numbers = list(range(start, start + len(volume)))
    if shuffle is not None:
        random.Random(shuffle).shuffle(numbers)
    for place, number in enumerate(numbers):
        position = np.array(first) + heights[place] * normal
        write_slice(
            folder / f"{number}.dcm", volume[place], orientation, position, number, **changes
        )
    return {number: place for place, number in enumerate(numbers)}
