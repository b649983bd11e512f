"""Studies that every method reads alike, and the judgement of what a method made of them."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from convert_methods import Method
from spinegrade.phantom.dicom_writer import rle_frame
from spinegrade.phantom.study import PhantomSettings, make_study

# As delivered: only judged, since not every method can read it.
KINDS = {
    "as delivered": None,
    "RLE Lossless": RLELossless,
    "uncompressed": ExplicitVRLittleEndian,
}
# A corner of a slice may lie so far from where the patient had it, in mm.
PLACE_TOLERANCE_MM = 0.2


@dataclass(frozen=True)
class TrueSlice:
    """A slice as pydicom reads it, its four corners (4, 3) in LPS mm and its normal."""

    pixels: NDArray[np.generic]
    corners_mm: NDArray[np.float64]
    normal: NDArray[np.float64]


@dataclass
class Verdict:
    """What a method made of one series: slices in all, in their place, with their voxels."""

    slices: int
    placed: int = 0
    present: int = 0
    refusal: str = ""


def phantom_studies(folder: Path, count: int) -> list[Path]:
    """The package's own studies at full matrix."""
    made = [make_study(PhantomSettings(), "train", number, folder) for number in range(count)]
    return [folder / record["study"] for record in made]


def prepare(studies: list[Path], work: Path, copies: int) -> dict[str, list[Path]]:
    """Study folders by kind: as delivered, and copies in each syntax that all can read.

    The competition's files have no Modality and call themselves Enhanced MR without being so:
    dicom2nifti then reads nothing and SimpleITK no positions. The copies are plain MR.
    """
    prepared: dict[str, list[Path]] = {}
    for kind, syntax in KINDS.items():
        place = work / kind.replace(" ", "_")
        for study in studies:
            original = place / f"{study.name}_0"
            for path in sorted(item for item in study.rglob("*") if item.is_file()):
                target = original / path.relative_to(study)
                target.parent.mkdir(parents=True, exist_ok=True)
                if syntax:
                    _rewrite(path, target, syntax)
                else:
                    shutil.copyfile(path, target)
            for number in range(1, copies if syntax else 1):
                shutil.copytree(original, place / f"{study.name}_{number}")
        prepared[kind] = sorted(place.iterdir())
    return prepared


def _rewrite(path: Path, target: Path, syntax: str) -> None:
    dataset = pydicom.dcmread(path)
    dataset.Modality = "MR"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    if dataset.file_meta.TransferSyntaxUID != syntax:
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.decompress(generate_instance_uid=False)
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
        else:
            dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(target, enforce_file_format=True)


def long_series(template: Path, folder: Path, count: int, size: int) -> Path:
    """An axial RLE series of ``count`` slices of ``size`` x ``size`` px, 3 mm apart."""
    folder.mkdir(parents=True)
    dataset = pydicom.dcmread(template)
    tile = np.resize(dataset.pixel_array, (size, size)).astype(np.uint16)
    dataset.Rows = dataset.Columns = size
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.file_meta.TransferSyntaxUID = RLELossless
    for number in range(count):
        dataset.ImagePositionPatient = [0, 0, 3 * number]
        dataset.InstanceNumber = number + 1
        stored = rle_frame(np.roll(tile, 7 * number))
        dataset.PixelData = pydicom.encaps.encapsulate([stored])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(folder / f"{number + 1}.dcm", enforce_file_format=True)
    return folder


def true_slices(series: Path) -> list[TrueSlice]:
    found = []
    for path in sorted(series.iterdir()):
        item = pydicom.dcmread(path)
        along_row, along_column = np.reshape(item.ImageOrientationPatient, (2, 3)).astype(float)
        between_rows, between_columns = map(float, item.PixelSpacing)
        right = along_row * between_columns * (item.Columns - 1)
        down = along_column * between_rows * (item.Rows - 1)
        first = np.array(item.ImagePositionPatient, float)
        corners = np.array([first, first + right, first + down, first + right + down])
        pixels = item.pixel_array
        if "RescaleSlope" in item:
            pixels = pixels * float(item.RescaleSlope) + float(item.RescaleIntercept)
        found.append(TrueSlice(pixels, corners, np.cross(along_row, along_column)))
    return found


def planes_of(truth: dict[str, list[TrueSlice]]) -> dict[str, str]:
    """The plane that each series lies in, since no table describes it here."""
    axes = {name: int(np.abs(slices[0].normal).argmax()) for name, slices in truth.items()}
    return {name: "sagittal" if axis == 0 else "axial" for name, axis in axes.items()}


def judge(
    method: Method, study: Path, truth: dict[str, list[TrueSlice]], planes: dict[str, str]
) -> dict[str, Verdict]:
    """What ``method`` makes of each series of a study, by the volumes that it writes."""
    verdicts = {name: Verdict(len(slices)) for name, slices in truth.items()}
    folders = [study / name for name in truth]
    for call in [folders] if method.by_study else [[folder] for folder in folders]:
        with tempfile.TemporaryDirectory(dir=study.parents[1]) as out:
            refusal = ""
            try:
                method.run(call, Path(out), planes)
            except Exception as error:
                refusal = f"{type(error).__name__}: {error}".splitlines()[0][:90]
            volumes = [nibabel.load(path) for path in sorted(Path(out).rglob("*.nii"))]
            for folder in call:
                _compare(truth[folder.name], volumes, verdicts[folder.name])
                verdicts[folder.name].refusal = refusal or "no volume"
    return verdicts


def _compare(slices: list[TrueSlice], volumes: list[nibabel.Nifti1Image], verdict: Verdict) -> None:
    """Count the slices that a volume holds in their place, and those that it holds at all."""
    arrays = [np.asanyarray(volume.dataobj) for volume in volumes]
    to_index = [np.linalg.inv(np.diag([-1, -1, 1, 1]) @ volume.affine) for volume in volumes]
    digests = {key for array in arrays for plane in range(array.shape[2])
               for key in _digests(array[:, :, plane].T)}  # fmt: skip
    for one in slices:
        pairs = zip(arrays, to_index, strict=True)
        verdict.placed += any(_in_place(one, *pair) for pair in pairs)
        verdict.present += _digest(one.pixels) in digests


def _in_place(one: TrueSlice, array: NDArray[np.generic], to_index: NDArray[np.float64]) -> bool:
    """Whether a volume (x, y, index) holds a slice's voxels at the slice's place."""
    index = one.corners_mm @ to_index[:3, :3].T + to_index[:3, 3]
    corners = np.rint(index).astype(int)
    steps = 1 / np.linalg.norm(to_index[:3, :3], axis=1)
    if (np.abs(index - corners) * steps > PLACE_TOLERANCE_MM).any():
        return False
    if (corners < 0).any() or (corners >= array.shape).any() or len(set(corners[:, 2])) > 1:
        return False
    plane = array[:, :, corners[0, 2]].T
    # The corners say how the volume turns the slice: compare in the slice's own order.
    if corners[0, 0] > corners[1, 0]:
        plane = plane[:, ::-1]
    if corners[0, 1] > corners[2, 1]:
        plane = plane[::-1]
    return np.array_equal(plane, one.pixels)


def _digests(plane: NDArray[np.generic]) -> list[bytes]:
    """Digests of a slice as it is and mirrored, as writers turn rows or columns."""
    return [_digest(plane[::down, ::right]) for down in (1, -1) for right in (1, -1)]


def _digest(plane: NDArray[np.generic]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(plane, np.float64).tobytes()).digest()
