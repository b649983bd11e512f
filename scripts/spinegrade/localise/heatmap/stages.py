"""The stage infer_keypoints: tables and weights in, tables out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from spinegrade.keypoint_rows import keypoint_table, rejected_table, tell_rejected
from spinegrade.localise.heatmap.axial import find_axial
from spinegrade.localise.heatmap.detector import load_detector
from spinegrade.localise.heatmap.inference import find_sagittal
from spinegrade.runtime.torch_setup import prepare
from spinegrade.tables import read_table, read_tables, write_table
from spinegrade.volumes import load_stacks

_LOGGER = logging.getLogger("spinegrade")


def infer_keypoints(
    *,
    name: str,
    shard: int,
    studies_path: str,
    folds_path: str | None,
    stacks_path: str,
    weights_paths: Sequence[str],
    level_paths: Sequence[str],
    keypoints_path: str,
    rejected_path: str,
    max_distance_mm: float,
    seed: int,
    math_threads: int,
    device: str,
) -> None:
    """Find the points of every usable study of one shard and write them.

    ``weights_paths`` in the order of the folds. ``level_paths`` are the shard's keypoint
    tables that tell an axial detector where the levels lie, or guide a sagittal one; a level
    farther than ``max_distance_mm`` from every axial slice is not looked for. Without
    ``folds_path`` no study was trained on, and all get the mean over the models. What is not
    found is counted in the log and listed in the rejected table.
    """
    chosen = prepare(seed % 2**32, math_threads, device)
    detectors = [load_detector(path, chosen) for path in weights_paths]
    studies = read_table(studies_path, "studies")
    studies = studies[(studies["shard"] == shard) & studies["problem"].isna()]
    studies = studies.sort_values("study")
    folds = None
    if folds_path is not None:
        table = read_table(folds_path, "folds")
        folds = dict(zip(table["study"], table["fold"].astype(int), strict=True))
    stacks = load_stacks([stacks_path])
    points = read_tables(list(level_paths), "keypoints") if level_paths else None
    if detectors[0].target.plane == "axial":
        found = find_axial(name, detectors, studies, folds, stacks, points, max_distance_mm)
    else:
        found = find_sagittal(name, detectors, studies, folds, stacks, points)
    keypoints, rejected = keypoint_table(found.keypoints), rejected_table(found.rejected)
    tell_rejected(rejected)
    _LOGGER.info("%s: %d points in %d studies", name, len(keypoints), keypoints["study"].nunique())
    write_table(keypoints_path, keypoints, "keypoints")
    write_table(rejected_path, rejected, "rejected")
