"""Checks of the detectors' config blocks that a schema cannot say."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.models.registry import module_of
from spinegrade.targets import TARGETS


def check_detectors(detectors: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse detectors that do not fit together.

    An axial detector names sagittal ones that give it the levels, a canal detector may name
    foraminal ones that guide it, a foraminal one none; every architecture exists; axial grids
    have an odd number of slices. Raises SpinegradeError with
    the key's path, the value and what is allowed.
    """
    sagittal = [n for n, d in detectors.items() if TARGETS[d["target"]].plane == "sagittal"]
    for name, block in detectors.items():
        where = f"keypoints.detectors.{name}"
        module_of(block["architecture"]["name"])
        if name in sagittal:
            if block["levels_from"] and block["target"] != "canal":
                raise SpinegradeError(
                    f"{where}.levels_from is {block['levels_from']}: only a canal detector can be "
                    f"guided by others, not one of target {block['target']}; leave the key out"
                )
            # A guide is not guided itself, so that no circle can form.
            allowed = [n for n in sagittal if detectors[n]["target"] == "foraminal"]
            _check_sources(where, block["levels_from"], allowed)
            continue
        if not block["levels_from"]:
            raise SpinegradeError(
                f"{where}.levels_from is empty: an axial detector needs sagittal ones that tell "
                f"its levels; allowed: {', '.join(sagittal) or 'none is configured'}"
            )
        _check_sources(where, block["levels_from"], sagittal)
        if block["grid"]["slices"] % 2 == 0:
            raise SpinegradeError(
                f"{where}.grid.slices is {block['grid']['slices']}: an axial detector looks at a "
                "slice and as many neighbours on each side, so it must be odd"
            )


def _check_sources(where: str, given: list[str], allowed: list[str]) -> None:
    for other in given:
        if other not in allowed:
            close = difflib.get_close_matches(other, allowed, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SpinegradeError(
                f"{where}.levels_from names {other!r}: not a detector that can tell it the "
                f"levels{hint} Allowed: {', '.join(allowed) or 'none is configured'}"
            )
