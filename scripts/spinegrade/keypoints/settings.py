"""Checks of the detectors' config blocks that a schema cannot say."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.keypoints.targets import TARGETS
from spinegrade.models.registry import module_of


def check_detectors(detectors: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse detectors that do not fit together.

    An axial detector names sagittal ones that give it the levels, a sagittal one none; every
    architecture exists; axial grids have an odd number of slices. Raises SpinegradeError with
    the key's path, the value and what is allowed.
    """
    sagittal = [n for n, d in detectors.items() if TARGETS[d["target"]].plane == "sagittal"]
    for name, block in detectors.items():
        where = f"keypoints.detectors.{name}"
        module_of(block["architecture"]["name"])
        if name in sagittal:
            if block["levels_from"]:
                raise SpinegradeError(
                    f"{where}.levels_from is {block['levels_from']}: target {block['target']} "
                    "finds its levels itself; leave the key out"
                )
            continue
        if not block["levels_from"]:
            raise SpinegradeError(
                f"{where}.levels_from is empty: an axial detector needs sagittal ones that tell "
                f"its levels; allowed: {', '.join(sagittal) or 'none is configured'}"
            )
        for other in block["levels_from"]:
            if other not in sagittal:
                close = difflib.get_close_matches(other, sagittal, 1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise SpinegradeError(
                    f"{where}.levels_from names {other!r}: no such sagittal detector{hint} "
                    f"Allowed: {', '.join(sagittal) or 'none is configured'}"
                )
        if block["grid"]["slices"] % 2 == 0:
            raise SpinegradeError(
                f"{where}.grid.slices is {block['grid']['slices']}: an axial detector looks at a "
                "slice and as many neighbours on each side, so it must be odd"
            )
