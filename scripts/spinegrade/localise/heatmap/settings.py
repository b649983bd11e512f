"""A localiser that predicts heatmaps: its settings, what it needs, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spinegrade.learner_settings import (
    House,
    LearnerSettings,
    Needs,
    check_training,
    module_names,
    refuse_unknown,
    refuse_unless,
    used_block,
)
from spinegrade.losses.registry import LOSSES
from spinegrade.models.registry import MODELS
from spinegrade.regions.lumbar_mri import TARGETS
from spinegrade.regions.region import Target

PARTS = ("loss_in_plane", "loss_slices")


@dataclass(frozen=True)
class Settings(LearnerSettings):
    """``finds``: the condition whose points it looks for; ``levels_from``: those that guide it."""

    @property
    def target(self) -> Target:
        """What it looks for."""
        return TARGETS[self.block["finds"]]

    @property
    def finds(self) -> tuple[str, ...]:
        """The conditions whose points it finds."""
        return (self.block["finds"],)

    @property
    def grid(self) -> Mapping[str, Any]:
        """What the network sees of a stack."""
        return self.block["input"]


def needs(settings: Settings, stage: str) -> Needs:
    """What ``stage`` (train, predict) of it reads and uses."""
    modules = module_names(settings, stage)
    if stage == "train":
        block = used_block(settings.block, ("levels_from", "max_distance_mm"))
        return Needs(block, modules, ("stacks", "landmarks"), mem_mb=2000, minutes=240)
    block = used_block(settings.block)
    guides = tuple(settings.block["levels_from"])
    return Needs(block, modules, ("stacks",), points=guides, mem_mb=2000, minutes=60)


def check(where: str, settings: Settings, house: House) -> None:
    """Refuse settings that do not fit together, or not to other learners.

    One of axial points names sagittal ones that give it the levels, one of canal points may name
    those of foraminal points, one of these none; axial slices are seen with as many neighbours on
    each side. Raises SpinegradeError with the key's path.
    """
    guides, grid = settings.block["levels_from"], settings.grid
    check_training(where, settings, house.folds, PARTS)
    given = ("in_channels", "points", "slices")
    MODELS.check(f"{where}.model", settings.model_name, given, settings.model)
    given = ("sigma_px", "sigma_slices")
    options = {*settings.loss} - {"sigma_mm", "sigma_slices"}
    LOSSES.check(f"{where}.training.loss", settings.loss_name, given, options)
    axial = settings.target.plane == "axial"
    # A guide is not guided itself, so that no circle can form.
    wanted = {"canal": {"foraminal"}, "foraminal": set()}.get(
        settings.target.name, {"canal", "foraminal"}
    )
    known = [n for n, one in house.learners.items() if wanted & {*getattr(one, "finds", ())}]
    key = f"{where}.levels_from"
    refuse_unless(
        bool(wanted) or not guides,
        key,
        f"is {guides}: points of {settings.target.name} are guided by none; leave the key out",
    )
    for guide in guides:
        refuse_unknown(key, guide, known, f"learner that finds {' or '.join(sorted(wanted))}")
    refuse_unless(
        not axial or bool(guides),
        key,
        "is empty: axial slices get their levels from sagittal points; allowed: "
        f"{', '.join(known) or 'none is configured'}",
    )
    refuse_unless(
        not axial or grid["slices"] % 2 == 1,
        f"{where}.input.slices",
        f"is {grid['slices']}: a slice is seen with as many neighbours on each side, so it must "
        "be odd",
    )
