"""A grader of levels in all views: settings, needs, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spinegrade.crop_shape import CropShape
from spinegrade.grade.views.settings import (
    CropSettings,
    check_crops,
    check_network,
    crop_needs,
)
from spinegrade.learner_settings import House, Needs, refuse_unknown
from spinegrade.regions.lumbar_views import SIDED_CONDITIONS


@dataclass(frozen=True)
class Settings(CropSettings):
    """``sequence``: the set of axial slices, of which it sees ``positions`` a level."""

    @property
    def sequence(self) -> str:
        """The set of axial slices."""
        return self.block["sequence"]

    @property
    def positions(self) -> int:
        """The axial slices that it sees of a level."""
        return self.block["input"]["positions"]

    @property
    def sided_conditions(self) -> tuple[int, ...]:
        """Places in ``SIDED_CONDITIONS`` of what goes through the network: all."""
        return tuple(range(len(SIDED_CONDITIONS)))

    def given(self, shapes: Mapping[str, CropShape]) -> dict[str, Any]:
        """What it tells the network of its input; ``shapes`` of its sets by name."""
        shape = shapes[self.crops["canal"]]
        return {
            "slices": shape.slices,
            "sagittal_px": shape.side_px,
            "axial_px": shapes[self.sequence].side_px,
            "repeated": self.all_columns,
        }

    def network_options(
        self, shapes: Mapping[str, CropShape], pretrained: bool = True
    ) -> dict[str, Any]:
        """Options of the network."""
        return {**self.encoders(pretrained), **self.options, **self.given(shapes)}


def needs(settings: Settings, stage: str) -> Needs:
    """What ``stage`` (train, predict) of it reads and uses."""
    return crop_needs(settings, stage, settings.sequence)


def check(where: str, settings: Settings, house: House) -> None:
    """Refuse settings that do not fit together, or not to the sets that it reads."""
    refuse_unknown(f"{where}.sequence", settings.sequence, house.sequences, "crop.sequences")
    check_crops(where, settings, house, same_shape=True)
    check_network(where, settings, house.shapes)
