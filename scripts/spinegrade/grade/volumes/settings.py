"""A grader of whole series, which finds their points too: settings, needs, what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from spinegrade.regions.lumbar_mri import TARGETS
from spinegrade.regions.region import Target

PARTS = {
    "foraminal": ("heatmap", "points", "grade"),
    "canal": ("heatmap", "points", "slices", "grade"),
}
"""The parts of the loss by what is graded, in the order of the history's columns."""
OUTPUTS = ("keypoints", "plain", "plain_keypoints", "rejected")
"""Tables beside the grades."""


@dataclass(frozen=True)
class Settings(LearnerSettings):
    """``grades`` canal or foraminal.

    Of published faults it may keep ``flip`` (reversed slices exchange no sides), ``matching`` (the
    index of matched points is transposed), ``recentre``, ``motion`` and ``mask_offset``.
    """

    @property
    def target(self) -> str:
        """What it grades, whose points it finds."""
        return self.block["grades"]

    @property
    def points(self) -> Target:
        """What the network looks for, in the order of its points."""
        return TARGETS[self.target]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its loss."""
        return PARTS[self.target]

    @property
    def canvas_px(self) -> int:
        """The side of the square that a slice is brought to."""
        return self.block["input"]["canvas_px"]

    @property
    def image_px(self) -> int:
        """The side of what the network sees; a pixel of its heatmaps is four of it."""
        return self.block["input"]["image_px"]

    @property
    def partial_studies(self) -> bool:
        """Whether studies learn whose points are not all annotated."""
        return self.block["partial_studies"]

    @property
    def flip(self) -> str:
        """fixed or bugged; see ``flip``."""
        return "bugged" if self.keeps("flip") else "fixed"

    @property
    def mask_offset(self) -> str:
        """exact or published; see ``canvas.to_mask``."""
        return "published" if self.keeps("mask_offset") else "exact"

    @property
    def is_mirrored(self) -> bool:
        """Whether predictions are also made of slices in reverse order."""
        return "mirrored" in self.block["looks"]

    def network_options(self, pretrained: bool = True) -> dict[str, Any]:
        """Options of the network, its encoder's weights pretrained or not."""
        encoder = self.model["encoder"]
        own = encoder if pretrained else {**encoder, "pretrained": None}
        return {**self.model, "encoder": own, "points": len(self.points.points)}

    @property
    def loss_options(self) -> dict[str, Any]:
        """Options of the loss."""
        kept = {"matching": "published"} if self.keeps("matching") else {}
        return {**self.loss, **kept}


def needs(settings: Settings, stage: str) -> Needs:
    """What ``stage`` (train, predict) of it reads and uses."""
    modules, canvas = module_names(settings, stage), (settings.target, settings.canvas_px)
    if stage == "train":
        block, tables = used_block(settings.block, ("looks",)), ("stacks", "landmarks", "labels")
        return Needs(
            block, modules, tables, canvas=canvas, mem_mb=12000, cuda_mb=12000, minutes=1440
        )
    block = used_block(settings.block)
    return Needs(block, modules, ("stacks",), canvas=canvas, mem_mb=8000, minutes=240)


def check(where: str, settings: Settings, house: House) -> None:
    """Refuse settings that do not fit together; raises SpinegradeError with the key's path."""
    check_training(where, settings, house.folds, settings.parts)
    options = settings.network_options().keys() - {"points"}
    MODELS.check(f"{where}.model", settings.model_name, ("points",), options)
    check_encoder(f"{where}.model.encoder", settings.model["encoder"])
    LOSSES.check(f"{where}.training.loss", settings.loss_name, (), settings.loss_options)
    refuse_unless(
        settings.image_px <= settings.canvas_px,
        f"{where}.input.image_px",
        f"is {settings.image_px}, larger than canvas_px ({settings.canvas_px})",
    )
    augment = settings.block["augment"]
    shares = [augment[key] for key in ("align", "homography")]
    refuse_unless(
        sum(shares) <= 1,
        f"{where}.augment.homography",
        f"and align are {shares[::-1]}, shares of one whole; allowed: together at most 1",
    )
    for key in ("scale", "noise_variance"):
        low, high = augment[key]
        refuse_unless(
            low <= high,
            f"{where}.augment.{key}",
            f"is {augment[key]}; allowed: a lower and then an upper limit",
        )
