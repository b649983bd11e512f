"""A grader of cells: which crops it reads, what it needs, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

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
from spinegrade.regions.lumbar_mri import TARGETS

PARTS = ("loss",)


class Augmentation(NamedTuple):
    """What training does to crops, drawn anew each time a crop is seen.

    ``jitter`` multiplies the measured standard deviations of the points. ``rotation_degrees``
    and ``scale`` (a log factor) are standard deviations, as are ``contrast``, ``brightness``
    and ``gamma``; ``noise`` is the greatest one added (of the window's range). ``mirror`` is
    the chance that a cell without a side is seen as in a mirror.
    """

    jitter: float
    rotation_degrees: float
    scale: float
    contrast: float
    brightness: float
    gamma: float
    noise: float
    mirror: float


@dataclass(frozen=True)
class Settings(LearnerSettings):
    """``reads``: by condition the sets of crops that speak for it."""

    @property
    def views(self) -> dict[str, list[str]]:
        """The same by the condition's name in tables."""
        return {TARGETS[name].condition: sets for name, sets in self.block["reads"].items()}

    @property
    def roi_sets(self) -> list[str]:
        """Every set of crops that it reads, each once, in the order of the config."""
        return list(dict.fromkeys(name for names in self.views.values() for name in names))

    @property
    def heads(self) -> list[tuple[str, str]]:
        """(condition, set of crops) of each view, in the order of the model's heads."""
        return [(condition, roi) for condition, sets in self.views.items() for roi in sets]

    @property
    def share_encoder(self) -> bool:
        """Whether one network serves all sets of crops."""
        return self.block["model"]["share_encoder"]

    @property
    def looks(self) -> list[str]:
        """What is averaged to predict."""
        return self.block["looks"]

    @cached_property
    def augmentation(self) -> Augmentation:
        """What training does to crops."""
        return Augmentation(**self.block["augment"])

    def encoder_options(self, pretrained: str | None) -> dict[str, Any]:
        """Options of the encoder's model, but for its input's shape."""
        rest = {k: v for k, v in self.model.items() if k not in ("encoder", "share_encoder")}
        return {**self.model["encoder"], "pretrained": pretrained, **rest}


def needs(settings: Settings, stage: str) -> Needs:
    """What ``stage`` (train, predict) of it reads and uses."""
    modules, sets = module_names(settings, stage, "cell_grader"), tuple(settings.roi_sets)
    if stage == "train":
        block = used_block(settings.block, ("looks",))
        return Needs(block, modules, sets=sets, mem_mb=3000)
    return Needs(used_block(settings.block), modules, sets=sets, mem_mb=3000, minutes=120)


def check(where: str, settings: Settings, house: House) -> None:
    """Refuse settings that do not fit together, or not to the sets of crops.

    Raises SpinegradeError with the key's path: for an unknown network or set, crops that are not
    square, a set that does not serve the condition, and one encoder for sets of unlike shapes.
    """
    check_training(where, settings, house.folds, PARTS)
    options = settings.encoder_options(None).keys()
    MODELS.check(f"{where}.model", settings.model_name, ("slices", "image_px"), options)
    check_encoder(f"{where}.model.encoder", settings.model["encoder"])
    LOSSES.check(f"{where}.training.loss", settings.loss_name, (), settings.loss)
    for condition, sets in settings.block["reads"].items():
        for roi_set in sets:
            check_set(f"{where}.reads.{condition}", roi_set, condition, house)
            refuse_unless(
                roi_set in house.square,
                f"{where}.reads.{condition}",
                f"names {roi_set!r}, whose crops are not square; graders of cells turn and shift "
                f"pixels as squares: give crop.sets.{roi_set}.in_plane one number for size and one "
                "for output_px",
            )
    seen = {house.shapes[roi_set].seen for roi_set in settings.roi_sets}
    refuse_unless(
        not settings.share_encoder or len(seen) == 1,
        f"{where}.model.share_encoder",
        f"is true, but its sets differ in (slices, rows, cols): {sorted(seen)}; give them one "
        "shape or set it to false",
    )
