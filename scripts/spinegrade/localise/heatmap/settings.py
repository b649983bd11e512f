"""A localiser that predicts heatmaps: its settings, and their checks that no schema can say."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.models.registry import module_of
from spinegrade.targets import TARGETS, Target
from spinegrade.training.plan import Plan

# Settings that say when a checkpoint is saved, not what is learnt.
_NO_RESULT = ("checkpoint_epochs",)


@dataclass(frozen=True)
class Settings:
    """One localiser, its defaults filled in; ``block`` as the configuration has it.

    No epoch is chosen: the last one's average is kept.
    """

    name: str
    block: Mapping[str, Any]
    select: str = "last"
    inner_share: float = 0.1

    @property
    def target(self) -> Target:
        """What it looks for."""
        return TARGETS[self.block["target"]]

    @property
    def grid(self) -> Mapping[str, Any]:
        """What the network sees of a stack."""
        return self.block["grid"]

    @property
    def training(self) -> Mapping[str, Any]:
        """How it is trained."""
        return self.block["training"]

    def as_dict(self) -> dict[str, Any]:
        """Plain values of all that decides what is learnt."""
        keys = ("target", "architecture", "grid", "training", "augmentation")
        plain = {key: self.block[key] for key in keys}
        training = {k: v for k, v in self.training.items() if k not in _NO_RESULT}
        return {"name": self.name, **plain, "training": training}


def plan_of(settings: Settings, fold: int) -> Plan:
    """The plan of a ``fold``."""
    block = {**settings.training, "gradient_norm": settings.training["clip_norm"]}
    return Plan.from_block(block, fold, schedule="one_cycle", warm_up=0.15)


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
