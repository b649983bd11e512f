"""A grader of crops in one view, or of axial ones: settings, needs, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from spinegrade.crop_shape import CropShape
from spinegrade.learner_settings import (
    House,
    LearnerSettings,
    Needs,
    check_encoder,
    check_set,
    check_training,
    module_names,
    refuse_unless,
    used_block,
)
from spinegrade.losses.registry import LOSSES
from spinegrade.models.registry import MODELS
from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL, SUBARTICULAR
from spinegrade.regions.lumbar_views import SIDED_CONDITIONS, VIEWS

PARTS = ("loss",)

CONDITION_OF = {
    "canal": SPINAL,
    "foraminal": FORAMINAL,
    "subarticular": SUBARTICULAR,
    "beside": SUBARTICULAR,
}
"""The condition that crops are cut for, by what they show."""

PLANE_OF = {
    "canal": "sagittal",
    "foraminal": "sagittal",
    "subarticular": "axial",
    "beside": "sagittal",
}
"""The plane that they are cut in."""


class Augmentation(NamedTuple):
    """What training does to images, as published for graders of single views.

    Chances: ``base`` each for brightness and contrast, for one of three blurs, and for movement;
    ``flip`` of a mirror image (front to back on sagittal, back to front on axial slices);
    ``jitter`` that a sagittal crop is cut beside its point, by up to ``jitter_px`` of the crop's
    pixels along each axis, as far as the stored margin reaches; ``slice_loss`` that a slice of a
    sagittal crop is black, the middle one never. ``brightness`` and ``contrast`` are shares of the
    grey range, ``blur_px`` the widest kernel, ``scale`` and ``shift`` shares of the image. Crops
    follow their points, so that ``shift`` moves whole slices alone. ``mixup`` is the chance that a
    batch is mixed with itself, in the first ``mixup_epochs``.
    """

    base: float
    brightness: float
    contrast: float
    blur_px: int
    shift: float
    scale: float
    rotation_degrees: float
    flip: float
    jitter: float
    jitter_px: float
    slice_loss: float
    mixup: float
    mixup_epochs: int


@dataclass(frozen=True)
class CropSettings(LearnerSettings):
    """Of graders of crops in rows: ``reads`` names the set of crops by what it shows."""

    @property
    def crops(self) -> dict[str, str]:
        """The sets of crops by what they show."""
        return self.block["reads"]

    @property
    def looks(self) -> list[str]:
        """What is averaged to predict: plain, flipped, mirrored."""
        return self.block["looks"]

    @cached_property
    def augment(self) -> Augmentation:
        """What training does to images."""
        return Augmentation(**self.block["augment"])

    @property
    def all_columns(self) -> bool:
        """Whether crops that no grade depends on go through the network too, as published."""
        return self.keeps("columns")

    def encoders(self, pretrained: bool) -> dict[str, dict[str, Any]]:
        """Options of the encoders, of axial images the one of others where it has none of its own.

        With their ``pretrained`` weights, or without any.
        """
        own = self.model["encoder"]
        found = {"encoder": own, "axial_encoder": self.model.get("axial_encoder") or own}
        if pretrained:
            return found
        return {name: {**encoder, "pretrained": None} for name, encoder in found.items()}

    @property
    def options(self) -> dict[str, Any]:
        """Options of the network beside its encoders."""
        encoders = ("encoder", "axial_encoder")
        return {key: value for key, value in self.model.items() if key not in encoders}


@dataclass(frozen=True)
class Settings(CropSettings):
    """``grades``: the condition, subarticular in axial crops with sagittal ones ``beside`` them."""

    @property
    def condition(self) -> str:
        """What it grades."""
        return self.block["grades"]

    @property
    def is_axial(self) -> bool:
        """Whether it sees axial crops with sagittal ones beside them."""
        return self.condition == "subarticular"

    @property
    def axial_channels(self) -> int:
        """1 shows a slice, 3 a slice between its neighbours in the crop."""
        return self.block["input"]["axial_channels"]

    @property
    def sided_conditions(self) -> tuple[int, ...]:
        """Places in ``SIDED_CONDITIONS`` of what goes through the network, in its order."""
        return tuple(range(len(VIEWS))) if self.all_columns else self.graded

    @property
    def graded(self) -> tuple[int, ...]:
        """Places in ``SIDED_CONDITIONS`` of what the grader grades."""
        own = CONDITION_OF[self.condition]
        return tuple(k for k, (name, _) in enumerate(SIDED_CONDITIONS) if name == own)

    def given(self, shapes: Mapping[str, CropShape]) -> dict[str, Any]:
        """What it tells the network of its input; ``shapes`` of its sets of crops by name."""
        if self.is_axial:
            beside, recess = (shapes[self.crops[name]] for name in ("beside", "subarticular"))
            return {
                # The middle slice and those outwards of it.
                "sagittal_slices": beside.slices // 2 + 1,
                "axial_channels": self.axial_channels,
                "sagittal_px": beside.side_px,
                "axial_px": recess.side_px,
            }
        shape = shapes[self.crops[self.condition]]
        return {
            "slices": shape.slices,
            "image_px": shape.side_px,
            "conditions": self.sided_conditions,
        }

    def network_options(
        self, shapes: Mapping[str, CropShape], pretrained: bool = True
    ) -> dict[str, Any]:
        """Options of the network."""
        encoders = self.encoders(pretrained)
        if not self.is_axial:
            encoders = encoders["encoder"]
        return {**encoders, **self.options, **self.given(shapes)}


def needs(settings: Settings, stage: str) -> Needs:
    """What ``stage`` (train, predict) of it reads and uses."""
    return crop_needs(settings, stage)


def crop_needs(settings: CropSettings, stage: str, sequence: str | None = None) -> Needs:
    """What ``stage`` of a grader of crops needs, which may read a ``sequence`` set beside them."""
    sets = tuple(dict.fromkeys(settings.crops.values()))
    modules = module_names(settings, stage)
    if stage == "train":
        block = used_block(settings.block, ("looks",))
        return Needs(
            block, modules, ("labels",), sets, sequence, mem_mb=12000, cuda_mb=12000, minutes=1440
        )
    block = used_block(settings.block)
    return Needs(block, modules, (), sets, sequence, mem_mb=8000, minutes=240)


def check(where: str, settings: Settings, house: House) -> None:
    """Refuse settings that do not fit together, or not to the sets of crops.

    Raises SpinegradeError with the key's path, the value and what is allowed.
    """
    if settings.is_axial:
        wanted = {"subarticular", "beside"}
        refuse_unless(
            not settings.all_columns,
            f"{where}.as_published",
            "names columns, but a grader of axial crops computes nothing beside its own columns; "
            "leave it out",
        )
        refuse_unless(
            "mirrored" not in settings.looks,
            f"{where}.looks",
            "names mirrored, but a grader of axial crops sees both sides as one already; allowed: "
            "plain, flipped",
        )
    else:
        refuse_unless(
            settings.model.get("axial_encoder") is None,
            f"{where}.model.axial_encoder",
            f"is given, but a grader of {settings.condition} sees no axial image; leave it out",
        )
        wanted = {"canal", "foraminal"} if settings.all_columns else {settings.condition}
    refuse_unless(
        {*settings.crops} == wanted,
        f"{where}.reads",
        f"has {sorted(settings.crops)}; one that grades {settings.condition} reads exactly "
        f"{sorted(wanted)}",
    )
    check_crops(where, settings, house, same_shape=not settings.is_axial)
    check_network(where, settings, house.shapes)


def check_crops(where: str, settings: CropSettings, house: House, same_shape: bool) -> None:
    """Refuse a training that contradicts itself, and sets of crops that do not fit."""
    check_training(where, settings, house.folds, PARTS)
    serves = {name: name for name in CONDITION_OF} | {"beside": "subarticular"}
    for name, roi_set in settings.crops.items():
        check_set(f"{where}.reads.{name}", roi_set, serves[name], house)
    shapes = {name: house.shapes[roi_set] for name, roi_set in settings.crops.items()}
    for what in ("seen", "margin_px") if same_shape else ():
        found = {name: getattr(shape, what) for name, shape in shapes.items()}
        refuse_unless(
            len(set(found.values())) == 1,
            f"{where}.reads",
            f"are sets that differ in {what}: {found}; one network reads them as one array, give "
            "them one shape and margin",
        )


def check_network(where: str, settings: Any, shapes: Mapping[str, CropShape]) -> None:
    """Refuse a network or a loss that does not fit, and an encoder that timm does not know."""
    given = settings.given(shapes)
    asked = settings.network_options(shapes).keys() - given.keys()
    MODELS.check(f"{where}.model", settings.model_name, given, asked)
    for name in ("encoder", "axial_encoder"):
        if settings.model.get(name):
            check_encoder(f"{where}.model.{name}", settings.model[name])
    LOSSES.check(f"{where}.training.loss", settings.loss_name, (), settings.loss)
