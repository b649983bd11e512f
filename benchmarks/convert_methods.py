"""The ways from DICOM series to uncompressed volumes that convert_speed.py compares.

Each takes the series folders of one call and an empty folder to write into, works on one
core, and raises where it refuses. What it wrote is judged afterwards, not here.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
import SimpleITK

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from spinegrade.convert.pixels import Scratch
from spinegrade.convert.series import convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource

SETTINGS = ConvertSettings()
SCRATCH = Scratch()
cv2.setNumThreads(1)
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # what it makes is judged
SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


@dataclass(frozen=True)
class Method:
    """A way to convert: ``peer`` counts for the ratio, ``by_study`` takes all series at once."""

    name: str
    run: Callable[[list[Path], Path, dict[str, str]], None]
    peer: bool = False
    by_study: bool = False
    writes: bool = True


def read_bytes(folders: list[Path], out: Path, planes: dict[str, str]) -> None:
    for series in folders:
        for path in series.iterdir():
            path.read_bytes()


def spinegrade(folders: list[Path], out: Path, planes: dict[str, str]) -> None:
    for series in folders:
        plane = planes[series.name]
        source = SeriesSource(series.parent.name, series.name, "train", plane, "t2", series)
        convert_series(source, out, SETTINGS, SCRATCH)


def simpleitk(folders: list[Path], out: Path, planes: dict[str, str]) -> None:
    for series in folders:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
        SimpleITK.WriteImage(reader.Execute(), str(out / f"{series.name}.nii"))


def dicom2nifti(folders: list[Path], out: Path, planes: dict[str, str]) -> None:
    from dicom2nifti.convert_dicom import dicom_series_to_nifti

    for series in folders:
        dicom_series_to_nifti(str(series), str(out / f"{series.name}.nii"), reorient_nifti=False)


def dcm2niix(folders: list[Path], out: Path, planes: dict[str, str]) -> None:
    place = folders[0] if len(folders) == 1 else folders[0].parent
    # -a y: files of a series lie together, "for faster conversion" says its help.
    options = ["-z", "n", "-b", "n", "-a", "y", "-w", "2", "-f", "%j", "-o", str(out)]
    subprocess.run([dcm2niix_program(), *options, str(place)], check=False, capture_output=True)


def pydicom_loop(folders: list[Path], out: Path, planes: dict[str, str]) -> None:
    for series in folders:
        slices = [pydicom.dcmread(path) for path in series.iterdir()]
        slices.sort(key=lambda item: int(item.InstanceNumber))
        volume = np.stack([item.pixel_array for item in slices])
        with (out / f"{series.name}.raw").open("wb") as file:
            volume.tofile(file)


def dcm2niix_program() -> str | None:
    """The program itself: the package's script of that name starts Python first."""
    if importlib.util.find_spec("dcm2niix"):
        import dcm2niix as package

        return str(package.bin)
    return shutil.which("dcm2niix")


def methods() -> list[Method]:
    """Those that can run here; says on stdout which peer is absent."""
    # Its refusals are listed by the benchmark; its own log would bury them.
    logging.getLogger("dicom2nifti").setLevel(logging.CRITICAL)
    found = [
        Method("reading the bytes", read_bytes, writes=False),
        Method("spinegrade", spinegrade),
        Method("SimpleITK series reader", simpleitk, peer=True),
    ]
    if importlib.util.find_spec("dicom2nifti"):
        found.append(Method("dicom2nifti", dicom2nifti, peer=True))
    else:
        print("dicom2nifti is absent: pip install -r benchmarks/requirements.txt")
    if dcm2niix_program():
        found.append(Method("dcm2niix, a call a study", dcm2niix, peer=True, by_study=True))
        found.append(Method("dcm2niix, a call a series", dcm2niix, peer=True))
    else:
        print("dcm2niix is absent: pip install -r benchmarks/requirements.txt")
    found.append(Method("pydicom loop to raw bytes", pydicom_loop, writes=False))
    return found
