"""Canvases of many stacks in one file that training maps, made once for all folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.canvas import on_canvas
from spinegrade.runtime.arrays import open_array
from spinegrade.runtime.files import atomic_path
from spinegrade.runtime.progress import progress
from spinegrade.volumes import Stack


class StackKey(NamedTuple):
    """What names a stack."""

    study: str
    series: str
    stack: int


Volumes = Mapping[StackKey, NDArray[np.uint8]]


def key_of(stack: Stack) -> StackKey:
    """What names ``stack`` in the tables."""
    return StackKey(stack.study, stack.series, stack.stack)


def write_volumes(path: str | Path, stacks: Iterable[Stack], canvas: int) -> None:
    """Write the canvases of ``stacks``, one after the other, as one NPY (S, canvas, canvas).

    The order of the stacks is what tells later which slices are whose. Raises SpinegradeError
    as ``on_canvas`` does.
    """
    made = [on_canvas(stack, canvas) for stack in progress(list(stacks), "Preparing stacks")]
    array = np.concatenate(made) if made else np.zeros((0, canvas, canvas), np.uint8)
    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def open_volumes(
    path: str | Path, stacks: Iterable[Stack], canvas: int
) -> dict[StackKey, NDArray[np.uint8]]:
    """The canvases that ``write_volumes`` wrote for the same stacks, mapped read-only.

    Raises SpinegradeError for a file that cannot hold just these.
    """
    stacks = list(stacks)
    array = open_array(path)
    ends = np.cumsum([stack.slices for stack in stacks], dtype=int)
    total = int(ends[-1]) if len(ends) else 0
    if array.dtype != np.uint8 or array.shape != (total, canvas, canvas):
        raise SpinegradeError(
            f"{path}: holds {array.dtype} {array.shape}, expected uint8 {(total, canvas, canvas)} "
            f"for {len(stacks)} stacks; remove it and run again"
        )
    return {
        key_of(stack): array[end - stack.slices : end]
        for stack, end in zip(stacks, ends, strict=True)
    }
