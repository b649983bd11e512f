"""One series: its files read once, planned, decoded, written as volumes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.header import Frame, read_frames
from spinegrade.convert.nifti import write_volume
from spinegrade.convert.pixels import FramesRefused, Scratch, check_format, decode_volume
from spinegrade.convert.plan import PlannedStack, plan_series
from spinegrade.convert.refusals import Refused, plain_name, refusal_row
from spinegrade.convert.settings import ConvertSettings
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import affine_to_columns
from spinegrade.runtime.files import inside

WINDOW_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class SeriesSource:
    """A series to convert: its ids, what it is described as, and the folder of its files."""

    study: str
    series: str
    split: str
    plane: str
    weighting: str
    folder: Path


@dataclass
class Converted:
    """Rows of the tables stacks, slices and rejected."""

    stacks: list[dict[str, Any]] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Converted) -> None:
        """Append the rows of ``other``."""
        self.stacks += other.stacks
        self.slices += other.slices
        self.rejected += other.rejected


def convert_series(
    source: SeriesSource,
    convert_folder: Path,
    settings: ConvertSettings,
    scratch: Scratch | None = None,
) -> Converted:
    """Write every stack of a series under ``convert_folder``/volumes/<study>/; return its rows.

    Never raises for what a file holds: bad files, slices and stacks become rejected rows.
    A slice whose pixels cannot be decoded is left out and the series planned again.
    ``scratch``: memory to share between series.
    """
    scratch = scratch or Scratch()
    result = Converted()

    def reject(file: str | None, code: str, found: str, action: str | None = None) -> None:
        row = refusal_row(source.study, source.series, file, code, found, action)
        result.rejected.append(row)

    frames = _read_series(source, settings, reject)
    while frames:
        planned, notes = plan_series(frames, source.plane, settings)
        written = Converted()
        try:
            for number, stack in enumerate(planned):
                _write_stack(source, number, stack, convert_folder, written, scratch)
        except FramesRefused as error:
            bad = {id(planned[number].frames[place]): why for place, why in error.refused}
            for frame in frames:
                if id(frame) in bad:
                    why = bad[id(frame)]
                    reject(frame.file, why.code, why.found, "slice left out")
            frames = [frame for frame in frames if id(frame) not in bad]
            continue
        for note in notes:
            reject(note.file, note.code, note.found, note.action)
        result.add(written)
        break
    return result


def _read_series(source: SeriesSource, settings: ConvertSettings, reject: Any) -> list[Frame]:
    try:
        with os.scandir(source.folder) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file()
            )
    except OSError as error:
        reject(None, "NO_FILES", f"the folder cannot be listed ({error.strerror})")
        return []
    if not names:
        reject(None, "NO_FILES", "the folder holds no file", "series left out")
    frames: list[Frame] = []
    for name in names:
        try:
            found = read_frames(inside(source.folder, name), settings.max_frame_mb)
            check_format(found[0].pixels)
            frames += found
        except SpinegradeError:
            reject(name, "UNSAFE_PATH", "the file's name is not plain", "file left out")
        except Refused as refused:
            reject(name, refused.code, refused.found, "file left out")
    return frames


def _write_stack(
    source: SeriesSource,
    number: int,
    stack: PlannedStack,
    folder: Path,
    written: Converted,
    scratch: Scratch,
) -> None:
    volume = decode_volume(stack.frames, scratch)
    low, high = intensity_window(volume)
    study_folder = inside(folder / "volumes", source.study)
    path = inside(study_folder, f"{source.series}_{number}.nii")
    write_volume(path, volume, stack.affine, low, high)
    key = {"study": source.study, "series": source.series, "stack": number}
    steps = np.linalg.norm(stack.affine[:3, :3], axis=0)
    written.stacks.append(
        {
            **key,
            "split": source.split,
            "plane": source.plane,
            "weighting": source.weighting,
            "slices": volume.shape[0],
            "rows": volume.shape[1],
            "cols": volume.shape[2],
            "row_spacing_mm": float(steps[1]),
            "col_spacing_mm": float(steps[0]),
            "slice_spacing_mm": float(steps[2]),
            **affine_to_columns(stack.affine),
            "intensity_low": low,
            "intensity_high": high,
            "volume": path.relative_to(folder).as_posix(),
        }
    )
    for index, frame in enumerate(stack.frames):
        written.slices.append(
            {
                **key,
                "index": index,
                "instance_number": frame.instance_number,
                "file": plain_name(frame.file),
                "position_mm": float(frame.position_mm @ stack.normal),
                "orientation": "\\".join(f"{value:.6f}" for value in frame.orientation),
            }
        )


def intensity_window(volume: NDArray[np.generic]) -> tuple[float, float]:
    """The 0.5 and 99.5 percentiles of a volume (z, y, x), for display and normalisation.

    16-bit volumes: the exact value below which that share of voxels lies, from a histogram.
    """
    shares = np.array(WINDOW_PERCENTILES) / 100
    if volume.dtype in (np.uint16, np.int16):
        # OpenCV counts several times as fast as numpy.bincount, which widens every voxel to
        # 64 bits first. It takes unsigned values only: counted is the distance to the least.
        least, span = int(volume.min()), int(volume.max()) - int(volume.min()) + 1
        image = volume.reshape(-1, volume.shape[-1]).view(np.uint16)
        if least:
            image = image - np.uint16(least & 0xFFFF)
        counts = cv2.calcHist([image], [0], None, [span], [0, span]).ravel()
        below = np.cumsum(counts, dtype=np.float64)
        low, high = np.searchsorted(below, shares * below[-1]) + least
        return float(low), float(high)
    low, high = np.quantile(volume, shares)
    return float(low), float(high)
