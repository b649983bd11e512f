"""One series: its files read once, planned, decoded, written as volumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spinegrade.convert.header import read_frames
from spinegrade.convert.nifti import write_volume
from spinegrade.convert.padding import inside_range, settle_padding
from spinegrade.convert.pixels import FramesRefused, Scratch, decode_volume
from spinegrade.convert.plan import PlannedStack, plan_series
from spinegrade.convert.refusals import plain_name, refusal_row
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.shear import shear_notes
from spinegrade.convert.source import SeriesSource, read_series
from spinegrade.geometry.affine import affine_to_columns
from spinegrade.geometry.rigid import axes_shear_degrees
from spinegrade.runtime.files import inside

WINDOW_PERCENTILES = (0.5, 99.5)


@dataclass
class Converted:
    """Rows of the tables stacks, slices, copies and rejected."""

    stacks: list[dict[str, Any]] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
    copies: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Converted) -> None:
        """Append the rows of ``other``."""
        self.stacks += other.stacks
        self.slices += other.slices
        self.copies += other.copies
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

    def reject(file: str | None, code: str, found: str, action: str) -> None:
        row = refusal_row(source.study, source.series, file, code, found, action)
        result.rejected.append(row)

    frames = read_series(source, settings, read_frames, reject)
    while frames:
        written = Converted()
        try:
            planned, notes = plan_series(frames, source.plane, settings)
            notes += shear_notes(planned)
            for number, stack in enumerate(planned):
                _write_stack(source, number, stack, convert_folder, written, scratch)
        except FramesRefused as error:
            bad = {id(planned[number].frames[place]): why for place, why in error.refused}
            # One row for all frames of a file that share a reason.
            reasons = [(f.file, bad[id(f)].code, bad[id(f)].found) for f in frames if id(f) in bad]
            for file, code, found in dict.fromkeys(reasons):
                reject(file, code, found, "slice left out")
            frames = [frame for frame in frames if id(frame) not in bad]
            continue
        except MemoryError:
            found = f"no memory for {len(frames)} slices"
            reject(None, "TOO_LARGE", found, "series left out")
            break
        for note in notes:
            reject(note.file, note.code, note.found, note.action)
        result.add(written)
        break
    return result


def _write_stack(
    source: SeriesSource,
    number: int,
    stack: PlannedStack,
    folder: Path,
    written: Converted,
    scratch: Scratch,
) -> None:
    volume = decode_volume(stack.frames, scratch)
    padding = settle_padding(volume, stack.frames)
    low, high = intensity_window(volume, padding)
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
            "shear_degrees": axes_shear_degrees(stack.affine),
            **affine_to_columns(stack.affine),
            "intensity_low": low,
            "intensity_high": high,
            "padding_low": None if padding is None else padding[0],
            "padding_high": None if padding is None else padding[1],
            "volume": path.relative_to(folder).as_posix(),
        }
    )
    texts = {id(frame.orientation): frame.orientation for frame in stack.frames}
    texts = {key: "\\".join(f"{value:.6f}" for value in axes) for key, axes in texts.items()}
    heights = np.array([frame.position_mm for frame in stack.frames]) @ stack.normal
    for index, members in stack.copies.items():
        for frame in members:
            row = {"instance_number": frame.instance_number, "file": plain_name(frame.file)}
            written.copies.append({**key, "index": index, **row})
    for index, frame in enumerate(stack.frames):
        written.slices.append(
            {
                **key,
                "index": index,
                "instance_number": frame.instance_number,
                "file": plain_name(frame.file),
                "position_mm": float(heights[index]),
                "orientation": texts[id(frame.orientation)],
            }
        )


def intensity_window(
    volume: NDArray[np.generic], padding: tuple[float, float] | None = None
) -> tuple[float, float]:
    """The 0.5 and 99.5 percentiles of a volume (z, y, x), for display and normalisation.

    16-bit volumes: the exact value below which that share of voxels lies, from a histogram.
    Voxels from ``padding``'s least to its greatest value do not count.
    """
    shares = np.array(WINDOW_PERCENTILES) / 100
    if volume.dtype in (np.uint16, np.int16):
        # OpenCV counts several times as fast as numpy.bincount, which widens every voxel to
        # 64 bits first. It takes unsigned values only: counted is the distance to the least.
        least = min(int(volume.min()), 0) if volume.dtype == np.int16 else 0
        span = int(volume.max()) - least + 1
        image = volume.reshape(-1, volume.shape[-1]).view(np.uint16)
        if least:
            image = image - np.uint16(least & 0xFFFF)
        counts = cv2.calcHist([image], [0], None, [span], [0, span]).ravel()
        if padding is not None:
            values = np.arange(least, least + span)
            counts[inside_range(values, padding)] = 0
        below = np.cumsum(counts, dtype=np.float64)
        low, high = np.searchsorted(below, shares * below[-1]) + least
        return float(low), float(high)
    picture = volume if padding is None else volume[~inside_range(volume, padding)]
    low, high = np.quantile(picture, shares)
    return float(low), float(high)
