"""A localiser of the levels that axial slices show: settings, needs, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass

from spinegrade.learner_settings import (
    House,
    Needs,
    check_training,
    module_names,
    refuse_unknown,
    refuse_unless,
    used_block,
)
from spinegrade.localise.coordinates.settings import FrameSettings, check_frames
from spinegrade.losses.registry import LOSSES
from spinegrade.regions.lumbar_mri import TARGETS
from spinegrade.regions.region import Target

PARTS = ("level", "side", "place")


@dataclass(frozen=True)
class Settings(FrameSettings):
    """``xy_from``: the localiser of single axial slices that finds the points in them.

    Two faults of the submitted code may be kept: ``attention`` of each slice to itself alone, and
    a ``flip`` that leaves left and right as they were.
    """

    finds = ("subarticular",)

    @property
    def target(self) -> Target:
        """What it looks for."""
        return TARGETS["subarticular"]

    @property
    def crop_px(self) -> int:
        """The side of the middle of the frame that is seen."""
        return self.block["input"]["crop_px"]

    @property
    def slice_mm(self) -> float:
        """The distance that slices are brought to."""
        return self.block["input"]["slice_mm"]


def needs(settings: Settings, stage: str) -> Needs:
    """What ``stage`` (train, predict) of it reads and uses."""
    modules = module_names(settings, stage)
    if stage == "train":
        block = used_block(settings.block, ("xy_from",))
        return Needs(block, modules, ("stacks", "landmarks"))
    block = used_block(settings.block)
    return Needs(block, modules, ("stacks",), places=settings.block["xy_from"], minutes=120)


def check(where: str, settings: Settings, house: House) -> None:
    """Refuse settings that do not fit together; raises SpinegradeError with the key's path."""
    check_training(where, settings, house.folds, PARTS)
    check_frames(where, settings, ("attention", "image_px"))
    LOSSES.check(f"{where}.training.loss", settings.loss_name, (), settings.loss)
    places = [n for n, one in house.learners.items() if getattr(one, "view", "") == "axial_slice"]
    what = "learner of kind coordinates that finds subarticular and sees a slice"
    refuse_unknown(f"{where}.xy_from", settings.block["xy_from"], places, what)
    refuse_unless(
        settings.crop_px <= settings.frame_px,
        f"{where}.input.crop_px",
        f"is {settings.crop_px}, larger than frame_px ({settings.frame_px})",
    )
