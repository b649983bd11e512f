"""The stage infer_regressor: tables and weights in, tables out."""

from __future__ import annotations

from collections.abc import Sequence

from spinegrade.localise.coordinates.found import shard_studies, write_found
from spinegrade.localise.coordinates.inference import find_points
from spinegrade.localise.coordinates.network import load_regressor
from spinegrade.runtime.seeds import stream_seed
from spinegrade.runtime.torch_setup import prepare
from spinegrade.volumes import load_stacks


def infer_regressor(
    *,
    name: str,
    shard: int,
    studies_path: str,
    folds_path: str | None,
    stacks_path: str,
    weights_paths: Sequence[str],
    xy_from: str | None,
    xy_paths: Sequence[str],
    entries: str,
    keypoints_path: str,
    rejected_path: str,
    seed: int,
    math_threads: int,
    device: str,
) -> None:
    """Find the points of every usable study of one shard and write them.

    ``xy_paths``: weights of the regressor ``xy_from`` that tells x and y where ``name`` tells
    levels alone; ``entries``: see ``find_points``. Without ``folds_path`` no study was trained on,
    and all get the mean over the models. What is not found is counted in the log and listed in the
    rejected table. Raises SpinegradeError where a model has seen a study that it would look at.
    """
    chosen = prepare(stream_seed(seed, name, "infer") % 2**32, math_threads, device)
    regressors = [load_regressor(path, name, chosen) for path in weights_paths]
    placing = [load_regressor(path, xy_from or "", chosen) for path in xy_paths]
    studies, folds = shard_studies(studies_path, folds_path, shard)
    found = find_points(
        name, regressors, studies, folds, load_stacks([stacks_path]), placing, entries
    )
    write_found(name, found, keypoints_path, rejected_path)
