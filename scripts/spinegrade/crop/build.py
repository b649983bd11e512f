"""The crops of one shard: one row a cell that has a keypoint."""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.crop.crop import crop_affine, crop_pixels, is_blank
from spinegrade.crop.settings import RoiSet
from spinegrade.errors import SpinegradeError
from spinegrade.geometry.affine import affine_to_columns, to_mm
from spinegrade.geometry.planes import nearest_slice, nearest_stack
from spinegrade.regions.region import Cell, Region
from spinegrade.runtime.files import atomic_path, read_json
from spinegrade.runtime.progress import progress
from spinegrade.tables.files import check_table, empty_table, read_table, write_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.rois import ROIS
from spinegrade.volumes import Stack, load_stacks

_LOGGER = logging.getLogger("spinegrade")


class Jitter(NamedTuple):
    """Measured error of a detector on studies that it had not seen, standard deviations."""

    in_plane_sd_mm: float
    slice_sd: float


class Centre(NamedTuple):
    """Where a cell's crop is centred: a stack, its (x_px, y_px, index), and whence it came."""

    stack: Stack
    point_px: tuple[float, float, int]
    confidence: float
    source: str
    crosses_planes: bool


def read_jitter(path: str | Path, detector: str) -> Jitter:
    """The measured error of ``detector`` from its errors.json.

    Raises SpinegradeError for the file of another detector, and names a key that is missing or no
    number of at least 0.
    """
    errors = read_json(path)
    if errors.get("detector") != detector:
        raise SpinegradeError(
            f"{path}: errors of {errors.get('detector')!r}, expected those of {detector!r}; run "
            "measure_keypoints for that detector",
            code="ERRORS_OF_ANOTHER",
        )
    found = []
    for key in Jitter._fields:
        value = errors.get(key)
        if not isinstance(value, int | float) or not np.isfinite(value) or value < 0:
            raise SpinegradeError(
                f"{path}: {key} is {value!r}, expected a number of at least 0; run "
                "measure_keypoints again",
                code="ERRORS_MALFORMED",
            )
        found.append(float(value))
    return Jitter(*found)


def find_centre(
    roi_set: RoiSet, cell: Cell, points: pd.DataFrame, stacks: Sequence[Stack]
) -> Centre | None:
    """Where ``cell`` of a study is cropped, or None if it has no keypoint or no image.

    No image shows a point beside its stack's pixels; a set that keeps crops inside takes the
    nearest ones all the same.

    ``points`` are the study's keypoints of the set's detector, ``stacks`` its volumes.
    """
    level = points[points["level"] == cell.level]
    asked = level[level["condition"] == (roi_set.points or cell.condition)]
    if roi_set.points or not asked.empty:
        level = asked
    if roi_set.around == "pair":
        chosen = [_best(level, "left"), _best(level, "right")]
    else:
        own = _best(level, cell.side)
        chosen = [own if own is not None else _best(level, "central")]
    if any(point is None for point in chosen):
        return None
    centre_mm = np.mean([[p["x_mm"], p["y_mm"], p["z_mm"]] for p in chosen], axis=0)
    lead = max(chosen, key=lambda point: point["confidence"])
    confidence = min(float(point["confidence"]) for point in chosen)
    if roi_set.image is None:
        key = lead["series"], int(lead["stack"])
        home = next((s for s in stacks if (s.series, s.stack) == key), None)
        if home is None:
            return None
        if nearest_stack([home], centre_mm) is None and not roi_set.keep_inside:
            return None
        if len(chosen) == 1:
            place = float(lead["x_px"]), float(lead["y_px"]), int(lead["index"])
        else:
            seen = nearest_slice(home.affine, home.slices, centre_mm)
            place = float(seen.x_px[0]), float(seen.y_px[0]), int(seen.index[0])
        return Centre(home, place, confidence, lead["source"], False)
    rivals = [s for s in stacks if (s.plane, s.weighting) == roi_set.image]
    nearest = nearest_stack(rivals, centre_mm, max_distance_mm=roi_set.max_distance_mm)
    if nearest is None:
        return None
    place = nearest.x_px, nearest.y_px, nearest.index
    return Centre(rivals[nearest.stack], place, confidence, lead["source"], True)


def _best(level: pd.DataFrame, side: str) -> dict[str, Any] | None:
    rows = level[level["side"] == side]
    if rows.empty:
        return None
    return rows.loc[rows["confidence"].idxmax()].to_dict()


def _check_sampled(roi_set: RoiSet, keypoints: pd.DataFrame, stacks: Iterable[Stack]) -> None:
    """Refuse slices sampled from the patient's right to left in stacks that run otherwise."""
    homes = set(keypoints[["study", "series", "stack"]].itertuples(index=False, name=None))
    for stack in stacks:
        key = stack.study, stack.series, stack.stack
        if roi_set.image is None and key in homes and stack.plane != "sagittal":
            raise SpinegradeError(
                f"crop.sets.{roi_set.name}.slices.sampled: the points of {roi_set.detector} lie "
                f"in {stack.plane} stacks (study {stack.study}, series {stack.series}); only "
                "sagittal ones run from the patient's right to left",
                code="CROPS_SAMPLED_PLANE",
                key=f"crop.sets.{roi_set.name}.slices.sampled",
            )


def crop_study(
    roi_set: RoiSet,
    points: pd.DataFrame,
    stacks: Sequence[Stack],
    jitter: Jitter,
    region: Region,
) -> tuple[list[NDArray[np.uint8]], list[dict[str, Any]]]:
    """Crops of one study, uint8 (slices, height, width) each, and their table rows.

    Rows lack only ``row``, ``grade`` and ``fold``. A crop that shows nothing (``crop.is_blank``) is
    left out and logged. Raises SpinegradeError for a volume that
    cannot be read.
    """
    crops, rows = [], []
    opened: dict[Path, np.memmap] = {}
    blank: list[str] = []
    for cell in region.cells:
        if cell.condition not in roi_set.conditions:
            continue
        centre = find_centre(roi_set, cell, points, stacks)
        if centre is None:
            continue
        stack = centre.stack
        if stack.path not in opened:
            opened[stack.path] = stack.open()
        few = roi_set.slices.sampled
        sampled = few.indices(stack.slices, cell.side) if few else None
        affine = crop_affine(roi_set, stack, centre.point_px, sampled)
        crop = crop_pixels(roi_set, stack, opened[stack.path], affine, sampled)
        if is_blank(roi_set, crop):
            blank.append(cell.column)
            continue
        crops.append(crop)
        slice_mm = float(np.linalg.norm(affine[:3, 2]))
        slice_sd = jitter.in_plane_sd_mm / slice_mm if centre.crosses_planes else jitter.slice_sd
        x_mm, y_mm, z_mm = to_mm(stack.affine, [centre.point_px])[0]
        rows.append(
            {
                "study": stack.study,
                "series": stack.series,
                "stack": stack.stack,
                "index": centre.point_px[2],
                **cell._asdict(),
                "x_px": centre.point_px[0],
                "y_px": centre.point_px[1],
                "x_mm": x_mm,
                "y_mm": y_mm,
                "z_mm": z_mm,
                "confidence": centre.confidence,
                "source": centre.source,
                "roi_set": roi_set.name,
                "jitter_in_plane_mm": jitter.in_plane_sd_mm,
                "jitter_slices": slice_sd,
                **affine_to_columns(affine),
            }
        )
    if blank:
        _LOGGER.warning(
            "study %s gets no crop of %s at %s: one value everywhere there, as outside the image",
            *(stacks[0].study, roi_set.name, ", ".join(blank)),
        )
    return crops, rows


def crop_shard(
    roi_set: RoiSet,
    keypoints: pd.DataFrame,
    stacks: Iterable[Stack],
    labels: pd.DataFrame,
    folds: pd.DataFrame | None,
    jitter: Jitter,
    region: Region,
) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """All crops of a shard, uint8 (n, slices, height, width), and their "rois" table.

    Studies come in the order of their names, cells in that of ``region``. A cell
    without a keypoint or a picture gets no row, and a study whose volume cannot be read is logged
    and left out: both are filled with the prior later. Studies without a label or a fold keep null
    there; so do all with ``folds`` None, when every study is new to the models. Raises
    SpinegradeError for a volume that is not there, and for slices sampled in stacks that are not
    sagittal.
    """
    by_study: dict[str, list[Stack]] = defaultdict(list)
    for stack in stacks:
        if not stack.path.exists():
            raise SpinegradeError(
                f"{stack.path}: no such volume; run convert_dicom again", code="VOLUME_MISSING"
            )
        by_study[stack.study].append(stack)
    if roi_set.slices.sampled:
        _check_sampled(roi_set, keypoints, itertools.chain.from_iterable(by_study.values()))
    groups = keypoints.groupby("study", sort=True)
    crops: list[NDArray[np.uint8]] = []
    rows: list[dict[str, Any]] = []
    for study, points in progress(groups, f"crops {roi_set.name}", total=groups.ngroups):
        try:
            new_crops, new_rows = crop_study(roi_set, points, by_study[study], jitter, region)
        except SpinegradeError as error:
            _LOGGER.warning("study %s gets no crops of %s: %s", study, roi_set.name, error)
            continue
        crops += new_crops
        rows += new_rows
    if not rows:
        _LOGGER.warning("no crops of %s in this shard", roi_set.name)
        return np.zeros((0, *roi_set.stored_shape), np.uint8), empty_table(ROIS)
    table = pd.DataFrame(rows)
    table["row"] = np.arange(len(table))
    table = table.merge(labels, "left", ["study", "condition", "level", "side"])
    if folds is None:
        table["fold"] = pd.NA
    else:
        table = table.merge(folds[["study", "fold"]], "left", "study")
    return np.stack(crops), check_table(table, ROIS)


def write_shard(
    roi_set: RoiSet,
    keypoints: str | Path,
    stacks: str | Path,
    labels: str | Path,
    folds: str | Path | None,
    errors: str | Path,
    array: str | Path,
    table: str | Path,
    region: Region,
) -> None:
    """Crop one shard from its files and write rois.npy and rois.parquet; see ``crop_shard``."""
    crops, rows = crop_shard(
        roi_set,
        read_table(keypoints, KEYPOINTS),
        load_stacks([stacks]),
        read_table(labels, LABELS),
        read_table(folds, FOLDS) if folds else None,
        read_jitter(errors, roi_set.detector),
        region,
    )
    with atomic_path(array) as temporary:
        np.save(temporary, crops, allow_pickle=False)
    write_table(table, rows, ROIS)
