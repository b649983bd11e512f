"""A grader of the two-stage system: which crops it reads, its network, how it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from spinegrade.grader_layout import SIDED_CONDITIONS, VIEWS
from spinegrade.names import FORAMINAL, SPINAL, SUBARTICULAR
from spinegrade.training.plan import Plan

SINGLE_VIEW = ("view_condition", "view_plain", "view_gru", "view_level_lstm")
"""Architectures that grade the crops of one condition."""

CONDITION_OF = {
    "canal": SPINAL,
    "foraminal": FORAMINAL,
    "subarticular": SUBARTICULAR,
    "beside": SUBARTICULAR,
}
"""The condition that a kind of crop is cut for."""

PLANE_OF = {
    "canal": "sagittal",
    "foraminal": "sagittal",
    "subarticular": "axial",
    "beside": "sagittal",
}
"""The plane that a kind of crop is cut in."""

# Settings that say what is made of predictions or when a checkpoint is saved, not what is learnt.
_NO_RESULT = ("tta", "ensemble")


@dataclass(frozen=True)
class CropShape:
    """Crops of one roi set: what a network sees, and the margin stored around it.

    Stored arrays are (n, slices + 2 ``slice_margin``, rows + 2 ``margin_px``, cols + the same).
    """

    slices: int
    slice_margin: int
    rows: int
    cols: int
    margin_px: int

    @property
    def stored(self) -> tuple[int, int, int]:
        """(slices, height, width) of one crop in rois.npy."""
        edge = 2 * self.margin_px
        return self.slices + 2 * self.slice_margin, self.rows + edge, self.cols + edge

    @property
    def seen(self) -> tuple[int, int, int]:
        """(slices, rows, cols) of one crop as a network sees it."""
        return self.slices, self.rows, self.cols

    @property
    def side_px(self) -> int | None:
        """The side of a square crop, None for another."""
        return self.rows if self.rows == self.cols else None


def crop_shape(slices: int, slice_margin: int, pixels: Any, margin_px: int) -> CropShape:
    """A roi set's shape from its plain values; ``pixels`` is a side, or rows and columns."""
    rows, cols = pixels if isinstance(pixels, Sequence) else (pixels, pixels)
    return CropShape(slices, slice_margin, rows, cols, margin_px)


@dataclass(frozen=True)
class Augmentation:
    """What training does to images, as published for the single-view graders.

    Chances: ``base`` each for brightness and contrast, for one of three blurs, and for movement;
    ``flip`` of a mirror image (front to back on sagittal, back to front on axial slices);
    ``jitter`` that a sagittal crop is cut beside its point, by up to ``jitter_px`` of the crop's
    pixels along each axis, as far as the stored margin reaches; ``slice_loss`` that a slice of a
    sagittal crop is black, the middle one never. ``brightness`` and ``contrast`` are shares of the
    grey range, ``blur_px`` the widest kernel, ``scale`` and ``shift`` shares of the image. Crops
    follow their points, so that ``shift`` moves whole slices alone. ``mixup`` is the chance that a
    batch is mixed with itself, in the first ``mixup_epochs``.
    """

    base: float = 0.75
    brightness: float = 0.2
    contrast: float = 0.2
    blur_px: int = 5
    shift: float = 0.1
    scale: float = 0.1
    rotation_degrees: float = 15.0
    flip: float = 0.5
    jitter: float = 0.5
    jitter_px: float = 5.0
    slice_loss: float = 0.0
    mixup: float = 0.0
    mixup_epochs: int = 6


PUBLISHED: dict[str, dict[str, Any]] = {
    "single_view": {},
    "axial_side": {"jitter": 0.0},
    "all_view": {"jitter": 0.2, "jitter_px": 3.0, "slice_loss": 0.1, "mixup": 0.2},
}
"""What a family's published augmentation has otherwise than ``Augmentation``'s defaults."""


@dataclass(frozen=True)
class Training:
    """How a grader is trained.

    A step takes ``batch_size`` studies (levels for ``all_view``) in ``accumulate`` parts. The rate
    rises over ``warmup`` of all steps and falls as a cosine of ``cycles``; the schedule is that of
    ``schedule_epochs`` (None: ``epochs``). Biases do not decay. ``gradient_norm`` None does not
    clip. ``patience``: without a better score for so many epochs it ends (None: never).
    """

    epochs: int
    schedule_epochs: int | None
    batch_size: int
    accumulate: int
    learning_rate: float
    warmup: float
    cycles: float
    weight_decay: float
    average_decay: float
    gradient_norm: float | None
    patience: int | None
    loss: str
    grade_weights: list[float]
    precision_cpu: str
    precision_cuda: str
    checkpoint_epochs: int


@dataclass(frozen=True)
class Settings:
    """One grader of the config's block ``two_stage.graders.<name>``, its defaults filled in.

    ``crops`` names the roi set of each kind of crop: canal, foraminal (sagittal), subarticular
    (axial), beside (sagittal T2 beside the axial one); ``sequence`` the sequence set of axial
    slices, of which ``all_view`` sees ``positions`` a level. ``condition`` canal or foraminal is
    that of the single-view architectures. ``columns`` published lets through the network what no
    grade depends on, or what it has seen already, as it was: batch statistics then see it.
    ``axial_encoder`` None is the ``encoder`` once more; ``axial_channels`` 1 shows ``axial_side`` a
    slice, 3 a slice between its neighbours in the crop.
    """

    name: str
    architecture: str
    condition: str | None
    crops: dict[str, str]
    sequence: str | None
    positions: int
    columns: str
    encoder: dict[str, Any]
    axial_encoder: dict[str, Any] | None
    axial_channels: int
    dropout: float | None
    augmentation: dict[str, Any]
    training: Training
    select: str
    inner_share: float
    tta: str
    ensemble: bool

    @property
    def family(self) -> str:
        """single_view, or the architecture's own name."""
        return "single_view" if self.architecture in SINGLE_VIEW else self.architecture

    @property
    def sided_conditions(self) -> tuple[int, ...]:
        """Places in ``SIDED_CONDITIONS`` of what goes through the network, in its order."""
        if self.family == "single_view" and self.columns == "published":
            return tuple(range(len(VIEWS)))
        return self.graded

    @property
    def graded(self) -> tuple[int, ...]:
        """Places in ``SIDED_CONDITIONS`` of what the grader grades."""
        if self.family == "all_view":
            return tuple(range(len(SIDED_CONDITIONS)))
        own = CONDITION_OF[self.condition or "subarticular"]
        return tuple(k for k, (name, _) in enumerate(SIDED_CONDITIONS) if name == own)

    @property
    def augment(self) -> Augmentation:
        """The family's published augmentation, changed by what is given."""
        return replace(Augmentation(), **{**PUBLISHED[self.family], **self.augmentation})

    def network_options(self, shapes: Mapping[str, CropShape]) -> dict[str, Any]:
        """Options of the architecture; ``shapes`` of its roi sets and sequence set by name."""
        if self.family == "axial_side":
            beside, recess = (shapes[self.crops[kind]] for kind in ("beside", "subarticular"))
            options = {
                "encoder": self.encoder,
                "axial_encoder": self.axial_encoder or self.encoder,
                # The middle slice and those outwards of it.
                "sagittal_slices": beside.slices // 2 + 1,
                "axial_channels": self.axial_channels,
                "sagittal_px": beside.side_px,
                "axial_px": recess.side_px,
            }
        elif self.family == "all_view":
            shape = shapes[self.crops["canal"]]
            options = {
                "encoder": self.encoder,
                "axial_encoder": self.axial_encoder or self.encoder,
                "slices": shape.slices,
                "sagittal_px": shape.side_px,
                "axial_px": shapes[self.sequence].side_px,
                "repeated": self.columns == "published",
            }
        else:
            shape = shapes[self.crops[self.condition]]
            options = {
                **self.encoder,
                "slices": shape.slices,
                "image_px": shape.side_px,
                "conditions": self.sided_conditions,
            }
        return options if self.dropout is None else options | {"dropout": self.dropout}

    def as_dict(self) -> dict[str, Any]:
        """Plain values of all that decides what is learnt, for a checkpoint's fingerprint."""
        plain = {key: value for key, value in asdict(self).items() if key not in _NO_RESULT}
        del plain["training"]["checkpoint_epochs"]
        return plain


def plan_of(settings: Settings, fold: int) -> Plan:
    """The plan of a ``fold``."""
    block = asdict(settings.training)
    renamed = {"accumulation": "accumulate", "warm_up": "warmup"}
    block |= {new: block.pop(old) for new, old in renamed.items()}
    return Plan.from_block(block, fold, schedule="cosine", decay="not_biases")


def settings_from_config(name: str, block: Mapping[str, Any]) -> Settings:
    """The grader ``name`` from its block of the config, validated and with all defaults."""
    rest = {key: value for key, value in block.items() if key != "training"}
    return Settings(name=name, training=Training(**block["training"]), **rest)


def augmentation_keys() -> list[str]:
    """The keys that a grader's ``augmentation`` may have."""
    return [field.name for field in fields(Augmentation)]
