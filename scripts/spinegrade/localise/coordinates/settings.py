"""A localiser that predicts coordinates: its settings, what it needs, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from spinegrade.learner_settings import (
    House,
    LearnerSettings,
    Needs,
    check_encoder,
    check_training,
    module_names,
    refuse_unless,
    used_block,
)
from spinegrade.losses.registry import LOSSES
from spinegrade.models.registry import MODELS
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS, TARGETS
from spinegrade.regions.region import Cell, Target

PARTS = ("loss",)


class Augmentation(NamedTuple):
    """How images are varied; each of three steps is taken with the chance ``chance``.

    Brightness and contrast within plus or minus these shares; motion, median or Gaussian blur of
    at most ``blur_px`` px of the frame; shift by a share of the frame, scale by a share,
    and rotation, with zeros from outside.
    """

    chance: float
    brightness: float
    contrast: float
    blur_px: int
    shift: float
    scale: float
    rotation_degrees: float


@dataclass(frozen=True)
class FrameSettings(LearnerSettings):
    """Of localisers that see frames, squares that slices are brought to and varied in."""

    @property
    def frame_px(self) -> int:
        """The side of a frame."""
        return self.block["input"]["frame_px"]

    @property
    def image_px(self) -> int:
        """The side of what the network sees."""
        return self.block["input"]["image_px"]

    @property
    def encoder(self) -> dict[str, Any]:
        """Options of the network's encoder."""
        return self.block["model"]["encoder"]

    @cached_property
    def augmentation(self) -> Augmentation:
        """How images are varied."""
        return Augmentation(**self.block["augment"])

    def network_options(self, pretrained: str | None) -> dict[str, Any]:
        """Options of the network, its encoder's weights as ``pretrained`` says."""
        rest = {key: value for key, value in self.model.items() if key != "encoder"}
        encoder = {**self.encoder, "pretrained": pretrained}
        return {**rest, **encoder, "image_px": self.image_px}


@dataclass(frozen=True)
class Settings(FrameSettings):
    """``finds``: a condition, or two, whose points lie in sagittal stacks seen together.

    ``sees`` a slice or a stack, of which it then sees ``depth`` slices.
    """

    @property
    def finds(self) -> tuple[str, ...]:
        """The conditions, in the order of the channels that show them."""
        found = self.block["finds"]
        return (found,) if isinstance(found, str) else tuple(found)

    @property
    def sees(self) -> str:
        """slice or stack."""
        return self.block["sees"]

    @property
    def view(self) -> str:
        """sagittal_slice, sagittal_stack, axial_slice or axial_stack."""
        return f"{self.channels[0].plane}_{self.sees}"

    @property
    def depth(self) -> int:
        """The slices that it sees of a stack."""
        return self.block["input"]["depth"]

    @property
    def coordinates(self) -> int:
        """What is predicted of a point: x and y, or x, y and slice."""
        return 2 if self.sees == "slice" else 3

    @property
    def target_scale(self) -> tuple[float, float]:
        """What a whole frame and a whole stack measure in the network's units."""
        return float(self.block["input"]["in_plane"]), float(self.block["input"]["along"])

    @property
    def channels(self) -> tuple[Target, ...]:
        """For each channel that the network sees, what is looked for in that series."""
        return tuple(TARGETS[name] for name in self.finds)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is found, in the order of the network's points: canal first, as published."""
        return tuple(sorted(set(self.channels), key=lambda target: target.name))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What each of the network's points is; a side "" is that of the slice that is seen."""
        if self.view == "sagittal_slice":
            return tuple(Cell(self.targets[0].condition, level, "") for level in LUMBAR_LEVELS)
        if self.view == "axial_stack":
            return tuple(
                cell._replace(level=level)
                for cell in self.targets[0].points
                for level in LUMBAR_LEVELS
            )
        return tuple(cell for target in self.targets for cell in target.points)

    @property
    def channel_of_point(self) -> tuple[int, ...]:
        """For each point the channel of the series that it lies in."""
        return tuple(self.channels.index(t) for t in self.targets for _ in t.points)


def needs(settings: Settings, stage: str) -> Needs:
    """What ``stage`` (train, predict) of it reads and uses."""
    modules = module_names(settings, stage)
    if stage == "train":
        block = used_block(settings.block, faults=("entries",))
        return Needs(block, modules, ("stacks", "landmarks"))
    return Needs(used_block(settings.block), modules, ("stacks",), minutes=120)


def check(where: str, settings: Settings, house: House) -> None:
    """Refuse settings that do not fit together; raises SpinegradeError with the key's path."""
    check_training(where, settings, house.folds, PARTS)
    given = ("channels", "points", "coordinates", "image_px")
    check_frames(where, settings, given)
    LOSSES.check(f"{where}.training.loss", settings.loss_name, (), settings.loss)
    refuse_unless(
        len(settings.finds) == 1 or settings.sees == "stack",
        f"{where}.finds",
        f"is {list(settings.finds)}, but sees: slice shows one series; allowed: one condition, or "
        "sees: stack",
    )
    refuse_unless(
        settings.view == "sagittal_slice" or not settings.keeps("entries"),
        f"{where}.as_published",
        "names entries, which concerns single sagittal slices alone; leave it out",
    )


def check_frames(where: str, settings: FrameSettings, given: tuple[str, ...]) -> None:
    """Refuse a network that does not fit, an encoder that timm does not know, too large images."""
    asked = settings.network_options(None).keys() - {*given}
    MODELS.check(f"{where}.model", settings.model_name, given, asked)
    check_encoder(f"{where}.model.encoder", settings.encoder)
    refuse_unless(
        settings.image_px <= settings.frame_px,
        f"{where}.input.image_px",
        f"is {settings.image_px}, larger than frame_px ({settings.frame_px})",
    )
    training = settings.training
    refuse_unless(
        training["batch_size"] % training["accumulation"] == 0,
        f"{where}.training.accumulation",
        f"is {training['accumulation']}, which does not divide batch_size "
        f"({training['batch_size']})",
    )
