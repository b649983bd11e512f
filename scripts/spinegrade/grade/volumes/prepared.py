"""The stage prepare_canvases: a shard's stacks brought to their canvases once, for all folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spinegrade.grade.volumes.samples import stacks_by_study, target_of
from spinegrade.grade.volumes.settings import Settings
from spinegrade.grade.volumes.store import StackKey, Volumes, open_volumes, write_volumes
from spinegrade.volumes import Stack, load_stacks


def stacks_to_prepare(stacks_path: str, target: str) -> list[Stack]:
    """The stacks of one shard that a target's networks look at, in a fixed order."""
    by_study = stacks_by_study(load_stacks([stacks_path]), target_of(target))
    return [stack for study in sorted(by_study) for stack in by_study[study]]


def prepare_volumes(stacks_path: str, target: str, canvas_px: int, volumes_path: str) -> None:
    """Write the canvases of a shard's stacks of the target's kind, for all folds and networks."""
    write_volumes(volumes_path, stacks_to_prepare(stacks_path, target), canvas_px)


def prepared_volumes(
    stacks_paths: Sequence[str], volumes_paths: Sequence[str], settings: Settings
) -> Volumes | None:
    """What ``prepare_volumes`` wrote, mapped, shard by shard as the tables; None without files."""
    if not volumes_paths:
        return None
    found: dict[StackKey, NDArray[np.uint8]] = {}
    for stacks_path, volumes_path in zip(stacks_paths, volumes_paths, strict=True):
        stacks = stacks_to_prepare(stacks_path, settings.target)
        found |= open_volumes(volumes_path, stacks, settings.canvas_px)
    return found
