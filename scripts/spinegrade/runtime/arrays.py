"""NPY files of the results, mapped and never unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinegrade.errors import SpinegradeError


def open_array(path: str | Path) -> NDArray[np.generic]:
    """Map the array of an NPY file read-only; raises SpinegradeError for any other file."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SpinegradeError(
            f"{path}: no array that can be mapped ({error}); remove it and run again",
            code="ARRAY_UNREADABLE",
        ) from error
