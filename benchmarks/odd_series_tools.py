"""The converters that odd_series.py asks, each as people call it on a folder of DICOM files."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from convert_methods import dcm2niix_program

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "tests" / "room"), str(PROJECT / "scripts")]

from odd_series_judge import Made, Volume  # noqa: E402
from odd_series_room import by_this_room  # noqa: E402

SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
logging.getLogger("dicom2nifti").setLevel(logging.CRITICAL)
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MOST_WORDS = 110


@dataclass(frozen=True)
class Tool:
    """A way from a folder of DICOM files (first argument) to volumes; the second is for output."""

    name: str
    package: str
    run: Callable[[Path, Path, str], Made]

    @property
    def version(self) -> str:
        """The installed version of its package."""
        return importlib.metadata.version(self.package) if self.package else ""


def _short(words: str, *folders: Path) -> str:
    """The first line that says something, without paths."""
    for folder in folders:
        words = words.replace(str(folder), "FOLDER")
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Exception thrown in")] or [""]
    told = [line for line in lines if "ITK ERROR" in line] or lines
    text = re.sub(r"\(0x[0-9a-f]+\)", "", " ".join(told[0].split())).replace("|", "/")
    text = text.removeprefix("dicom2nifti.exceptions.").removeprefix("ITK ERROR: ")
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS].rsplit(' ', 1)[0]} (cut)"


def _nifti(paths: list[Path]) -> list[Volume]:
    """The volumes of NIfTI files in order, a fourth dimension taken apart."""
    found: list[Volume] = []
    for path in paths:
        image = nibabel.load(path)
        voxels = np.asarray(image.dataobj)
        voxels = (
            voxels.reshape(*voxels.shape[:3], -1) if voxels.ndim > 2 else voxels[:, :, None, None]
        )
        found += [(voxels[..., n].T, TO_LPS @ image.affine) for n in range(voxels.shape[3])]
    return found


def by_dcm2niix(folder: Path, out: Path, plane: str) -> Made:
    options = ["-z", "n", "-b", "n", "-f", "%s_%d", "-o", str(out)]
    done = subprocess.run(
        [str(dcm2niix_program()), *options, str(folder)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    words = f"exit status {done.returncode}" if done.returncode else ""
    written = sorted(out.glob("*.nii"))
    # Where it corrects a volume it writes both, the corrected one under a longer name.
    corrected = [path for path in written if path.stem.split("_")[-2] in ("Tilt", "Eq")]
    plain = {
        path.stem.removesuffix("_1").removesuffix("_Eq").removesuffix("_Tilt") for path in corrected
    }
    kept = [path for path in written if path in corrected or path.stem not in plain]
    if not kept:
        words = f"{words} {_short(done.stderr or done.stdout, folder, out)}".strip()
    elif corrected:
        words = "the uncorrected volume beside it"
    return Made(_nifti(kept), words)


def _dicom2nifti(folder: Path, out: Path) -> Made:
    from dicom2nifti import convert_directory

    with contextlib.redirect_stderr(io.StringIO()) as printed:
        convert_directory(str(folder), str(out), compression=False, reorient=False)
    # It prints the trace of what it could not convert, and goes on.
    lines = [line for line in printed.getvalue().splitlines() if line.strip()]
    return Made(_nifti(sorted(out.glob("*.nii"))), _short(lines[-1] if lines else "", folder, out))


def by_dicom2nifti(folder: Path, out: Path, plane: str) -> Made:
    from dicom2nifti import settings

    settings.disable_resampling()
    settings.enable_validate_orthogonal()
    settings.enable_validate_slice_increment()
    return _dicom2nifti(folder, out)


def by_dicom2nifti_resampling(folder: Path, out: Path, plane: str) -> Made:
    """As its documentation says for tilted gantries and uneven steps."""
    from dicom2nifti import settings

    settings.disable_validate_orthogonal()
    settings.disable_validate_slice_increment()
    settings.enable_resampling()
    settings.set_resample_spline_interpolation_order(1)
    return _dicom2nifti(folder, out)


def by_simpleitk(folder: Path, out: Path, plane: str) -> Made:
    """Its series reader, a volume a series of the folder."""
    made = Made()
    for series in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
        try:
            image = reader.Execute()
        except RuntimeError as error:
            made.words = _short(str(error), folder, out)
            continue
        size = image.GetDimension()
        affine = np.eye(4)
        directions = np.reshape(image.GetDirection(), (size, size)) * image.GetSpacing()
        affine[:3, :3], affine[:3, 3] = directions[:3, :3], image.GetOrigin()[:3]
        # A multi-frame file becomes an image of four dimensions.
        voxels = SimpleITK.GetArrayFromImage(image)
        made.volumes += [(one, affine) for one in voxels.reshape(-1, *voxels.shape[-3:])]
    return made


def by_monai(folder: Path, out: Path, plane: str) -> Made:
    from monai.transforms import LoadImage

    image = LoadImage(image_only=True)(str(folder))
    voxels = image.numpy()
    voxels = voxels.reshape(*voxels.shape[:3], -1) if voxels.ndim > 2 else voxels[:, :, None, None]
    affine = TO_LPS @ image.affine.numpy()
    return Made([(voxels[..., n].T, affine) for n in range(voxels.shape[3])])


def by_torchio(folder: Path, out: Path, plane: str) -> Made:
    import torchio

    image = torchio.ScalarImage(folder)
    affine = TO_LPS @ np.asarray(image.affine)
    return Made([(channel.numpy().T, affine) for channel in image.data])


TOOLS = (
    Tool("this room", "", by_this_room),
    Tool("dcm2niix", "dcm2niix", by_dcm2niix),
    Tool("dicom2nifti", "dicom2nifti", by_dicom2nifti),
    Tool("dicom2nifti resampling", "dicom2nifti", by_dicom2nifti_resampling),
    Tool("SimpleITK", "simpleitk", by_simpleitk),
    Tool("MONAI", "monai", by_monai),
    Tool("TorchIO", "torchio", by_torchio),
)


def convert(tool: Tool, folder: Path, plane: str) -> Made:
    """What a tool makes of a folder; an error that it raises is its word."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = tool.run(folder, Path(place), plane)
        except Exception as error:
            return Made(words=_short(f"{type(error).__name__}: {error}", folder, Path(place)))
        return Made([(np.array(v), a) for v, a in made.volumes], made.words)
