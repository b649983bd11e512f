"""A classifier: which crops it reads, which network, how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.timm_names import check_backbone
from spinegrade.training.plan import Plan

ARCHITECTURES = {
    "channels": "slice_channels",
    "attention": "slice_attention",
    "gru": "slice_gru",
}
"""How slices are pooled, by the name in the config, and the model that does it."""


@dataclass(frozen=True)
class CropShape:
    """Crops of one roi set: what a network sees, and the margin stored around it.

    Stored arrays are (n, slices + 2 slice_margin, pixels + 2 margin_px, the same).
    """

    slices: int
    slice_margin: int
    pixels: int
    margin_px: int

    @property
    def stored(self) -> tuple[int, int, int]:
        """(slices, height, width) of one crop in rois.npy."""
        side = self.pixels + 2 * self.margin_px
        return self.slices + 2 * self.slice_margin, side, side


@dataclass(frozen=True)
class Augmentation:
    """What training does to crops, drawn anew each time a crop is seen.

    ``jitter`` multiplies the measured standard deviations of the detector. ``rotate_degrees``
    and ``scale`` (a log factor) are standard deviations, as are ``contrast``, ``brightness``
    and ``gamma``; ``noise`` is the greatest one added (of the window's range). ``mirror`` is
    the chance that a cell without a side is seen as in a mirror.
    """

    jitter: float = 1.0
    rotate_degrees: float = 6.0
    scale: float = 0.08
    contrast: float = 0.15
    brightness: float = 0.08
    gamma: float = 0.15
    noise: float = 0.04
    mirror: float = 0.5


@dataclass(frozen=True)
class Settings:
    """One classifier of the config's block ``classifiers.<name>``.

    ``views``: for each condition the roi sets whose crops speak for it. ``pooling`` is one
    of ``ARCHITECTURES``; ``head`` holds further options of that model. ``loss`` is the name of a
    module in ``losses``. ``precision_cpu``
    and ``precision_cuda`` are float32, bfloat16 or (CUDA) float16; bfloat16 is taken only where
    the hardware computes it. ``test_draws`` adds that many jittered looks to each prediction.
    """

    name: str
    views: dict[str, list[str]]
    backbone: str
    pooling: str = "channels"
    pretrained: str | None = None
    share_encoder: bool = True
    dropout: float = 0.2
    drop_path: float = 0.0
    head: dict[str, Any] = field(default_factory=dict)
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    ema_decay: float = 0.98
    loss: str = "weighted_cross_entropy"
    validate_every: int = 5
    test_draws: int = 0
    precision_cpu: str = "float32"
    precision_cuda: str = "float16"
    augmentation: Augmentation = field(default_factory=Augmentation)
    # No epoch is chosen: the last one's average is kept.
    select: str = "last"
    inner_share: float = 0.1

    @property
    def architecture(self) -> str:
        """The name of the encoder's model in the registry."""
        return ARCHITECTURES[self.pooling]

    @property
    def roi_sets(self) -> list[str]:
        """Every roi set that the classifier reads, each once, in the order of the config."""
        return list(dict.fromkeys(name for names in self.views.values() for name in names))

    @property
    def heads(self) -> list[tuple[str, str]]:
        """(condition, roi set) of each view, in the order of the model's heads."""
        return [(condition, roi) for condition, sets in self.views.items() for roi in sets]

    @property
    def encoder_options(self) -> dict[str, Any]:
        """Options of the encoder's model, but for its input's shape."""
        return {
            "backbone": self.backbone,
            "pretrained": self.pretrained,
            "dropout": self.dropout,
            "drop_path": self.drop_path,
            **self.head,
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's fingerprint."""
        return asdict(self)


def plan_of(settings: Settings, fold: int) -> Plan:
    """The plan of a ``fold``."""
    return Plan(
        schedule="cosine",
        decay="matrices",
        warm_up=settings.warmup,
        average_decay=settings.ema_decay,
        gradient_norm=5.0,
        **{key: getattr(settings, key) for key in _SAME},
    )


_SAME = (
    *("epochs", "batch_size", "learning_rate", "weight_decay"),
    *("precision_cpu", "precision_cuda", "validate_every"),
)


def settings_from_config(name: str, block: Mapping[str, Any]) -> Settings:
    """The classifier ``name`` from its (validated) block of the config."""
    rest = {key: value for key, value in block.items() if key != "augmentation"}
    augmentation = Augmentation(**block.get("augmentation", {}))
    return Settings(name=name, augmentation=augmentation, **rest)


def check_classifiers(
    blocks: Mapping[str, Mapping[str, Any]],
    shapes: Mapping[str, CropShape],
    conditions: Mapping[str, list[str]],
) -> None:
    """Refuse classifiers whose backbone is unknown or whose views do not fit the roi sets.

    ``conditions`` gives the conditions of every roi set, ``shapes`` the shape of those whose crops
    are square. Raises SpinegradeError for an unknown backbone or roi set, crops that are not
    square, a roi set that does not serve the condition, and one encoder shared by roi sets of
    different shapes.
    """
    for name, block in blocks.items():
        settings = settings_from_config(name, block)
        check_backbone(settings.backbone, f"classifiers.{name}.backbone")
        for condition, roi_set in settings.heads:
            where = f"classifiers.{name}.views.{condition}"
            if roi_set not in shapes and roi_set in conditions:
                raise SpinegradeError(
                    f"{where} names {roi_set!r}, whose crops are not square; classifiers turn and "
                    f"shift pixels as squares: give rois.sets.{roi_set}.in_plane one number for "
                    "size and one for output_px"
                )
            if roi_set not in shapes:
                raise SpinegradeError(
                    f"{where} names {roi_set!r}: there is no such roi set; allowed: "
                    f"{', '.join(sorted(shapes))}"
                )
            if condition not in conditions[roi_set]:
                raise SpinegradeError(
                    f"{where} names {roi_set!r}, which crops only {conditions[roi_set]}; add the "
                    f"condition to rois.sets.{roi_set}.conditions"
                )
        seen = {(shapes[s].slices, shapes[s].pixels) for s in settings.roi_sets}
        if settings.share_encoder and len(seen) > 1:
            raise SpinegradeError(
                f"classifiers.{name}.share_encoder is true, but its roi sets differ in (slices, "
                f"pixels): {sorted(seen)}; give them one shape or set share_encoder to false"
            )
