"""A regressor: what it looks at, what it tells, how it is trained; the published values by kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from spinegrade.names import LUMBAR_LEVELS, Cell
from spinegrade.targets import TARGETS, Target

INPUT_TARGETS = {"t1": TARGETS["foraminal"], "t2": TARGETS["canal"]}
"""By the weighting of a sagittal input, what is looked for in it."""
LEVELS = "axial_levels"
PLACES = "axial_2d"
"""The kind that tells where in a slice the points lie whose slice the kind LEVELS tells."""
# Settings that say when a checkpoint is saved, not what is learnt.
_NO_RESULT = ("checkpoint_epochs",)


class Kind(NamedTuple):
    """What all regressors of one kind share, and what stands where a block says null.

    ``coordinates`` of a point that the network tells: x and y, or x, y and slice.
    ``in_plane`` and ``slices`` are what a whole frame and a whole stack measure in the units that
    the network tells, and the loss is ``distance`` of ``loss_weight`` times those units.
    """

    architecture: str
    coordinates: int
    distance: str
    in_plane: float
    slices: float
    loss_weight: float
    image_px: int
    depth: int
    epochs: int
    batch_size: int
    accumulation: int
    learning_rate: float
    rotation_degrees: float


KINDS = {
    # Single sagittal slices: the five levels' x and y, the loss in px of a frame of 512.
    "sagittal_2d": Kind(
        *("image_regressor", 2, "l1", 1.0, 1.0, 512.0),
        *(512, 1, 25, 32, 2, 6e-4, 15.0),
    ),
    # Whole sagittal series.
    "sagittal_3d": Kind(
        *("volume_regressor", 3, "smooth_l1", 4.0, 16.0, 1.0),
        *(256, 48, 35, 16, 2, 6e-4, 15.0),
    ),
    # A whole axial series.
    "axial_3d": Kind(
        *("volume_regressor", 3, "smooth_l1", 4.0, 16.0, 1.0),
        *(256, 96, 30, 16, 2, 6e-4, 10.0),
    ),
    # A single axial slice: its left and right point, told in px of a frame of 512.
    "axial_2d": Kind(
        *("image_regressor", 2, "smooth_l1", 512.0, 1.0, 1 / 128),
        *(512, 1, 25, 32, 2, 6e-4, 15.0),
    ),
    # All axial slices of a study: which level each shows, and how near it is to the points.
    LEVELS: Kind(
        *("level_sequence", 0, "", 1.0, 1.0, 1.0),
        *(224, 1, 35, 8, 8, 1e-4, 15.0),
    ),
}


@dataclass(frozen=True)
class Training:
    """How a regressor is trained: AdamW, cosine with warm-up, a moving average of weights.

    A batch of ``batch_size`` samples is seen in ``accumulation`` parts. Biases do not decay. The
    schedule warms up over the first ``warm_up`` of the epochs and is sized for ``further_epochs``
    more than are run; ``cycles`` 0.475 of a cosine ends near zero there.
    """

    epochs: int
    batch_size: int
    accumulation: int
    learning_rate: float
    weight_decay: float
    average_decay: float
    warm_up: float
    further_epochs: int
    cycles: float
    precision_cpu: str
    precision_cuda: str
    checkpoint_epochs: int


@dataclass(frozen=True)
class Augmentation:
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
class Settings:
    """One regressor of the config's block ``keypoints.regressors.<name>``, defaults filled in.

    ``inputs``: weightings of the sagittal series that a volume regressor sees, a channel each;
    ``target``: what a regressor of single sagittal slices looks for, foraminal or canal. Both are
    None for the other kinds.
    ``frame_px`` is the side of the square that slices are brought to and varied in, ``image_px``
    that of what the network sees of it, ``depth`` the slices that it sees. ``target_scale``:
    what a whole frame and a whole stack measure in the network's units. ``select`` says which
    epoch's weights are kept: the last, the best on an inner part of the training studies, or
    (published) the best on the very fold that is held out.

    For the kind LEVELS alone: ``crop_px`` the middle of the frame that is seen, ``slice_mm`` the
    distance that slices are brought to, and whether two faults of the submitted code are mended
    (fixed) or kept (published): ``attention`` of each slice to itself alone, ``flips`` that leave
    left and right as they were.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] | None
    target: str | None
    backbone: str
    pretrained: str | None
    frame_px: int
    image_px: int
    depth: int
    target_scale: tuple[float, float]
    loss_weight: float
    crop_px: int
    slice_mm: float
    attention: str
    flips: str
    training: Training
    augmentation: Augmentation
    select: str
    inner_share: float

    @property
    def of_kind(self) -> Kind:
        """What the kind settles."""
        return KINDS[self.kind]

    @property
    def architecture(self) -> str:
        """The network's name in ``models``."""
        return self.of_kind.architecture

    @property
    def loss(self) -> str:
        """The loss's name in ``losses``."""
        return "level_sequence" if self.kind == LEVELS else "coordinate_distance"

    @property
    def channels(self) -> tuple[Target, ...]:
        """For each channel that the network sees, what is looked for in that series."""
        if self.inputs is not None:
            return tuple(INPUT_TARGETS[weighting] for weighting in self.inputs)
        return (TARGETS[self.target or "subarticular"],)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is found, in the order of the network's points: canal first, as published."""
        return tuple(sorted(set(self.channels), key=lambda target: target.name))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What each of the network's points is; a side "" is that of the slice that is seen."""
        if self.kind == "sagittal_2d":
            return tuple(Cell(self.targets[0].condition, level, "") for level in LUMBAR_LEVELS)
        if self.kind in ("axial_3d", LEVELS):
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

    def as_dict(self) -> dict[str, Any]:
        """Plain values of all that decides what is learnt, for fingerprints and files."""
        plain = asdict(self)
        for key in _NO_RESULT:
            del plain["training"][key]
        return plain


def kind_of(block: Mapping[str, Any]) -> str:
    """The folder of the room ``localise`` that a regressor of this block is of."""
    return LEVELS if block["kind"] == LEVELS else "coordinates"


def settings_from_config(name: str, block: Mapping[str, Any]) -> Settings:
    """The regressor ``name`` from its block of the config, validated and with all defaults.

    Null takes what was published for the kind.
    """
    kind = KINDS[block["kind"]]

    def filled(key: str, given: Mapping[str, Any] = block) -> Any:
        return getattr(kind, key) if given[key] is None else given[key]

    training = {**block["training"]}
    for key in ("epochs", "batch_size", "accumulation", "learning_rate"):
        training[key] = filled(key, training)
    augmentation = {**block["augmentation"]}
    augmentation["rotation_degrees"] = filled("rotation_degrees", augmentation)
    scale = block["target_scale"] or {"in_plane": kind.in_plane, "slices": kind.slices}
    weight = kind.loss_weight if block["loss_weight"] is None else block["loss_weight"]
    return Settings(
        name=name,
        kind=block["kind"],
        inputs=None if block["inputs"] is None else tuple(block["inputs"]),
        **{key: block[key] for key in ("target", "backbone", "pretrained", "frame_px")},
        image_px=filled("image_px"),
        depth=filled("depth"),
        target_scale=(float(scale["in_plane"]), float(scale["slices"])),
        loss_weight=float(weight),
        training=Training(**training),
        augmentation=Augmentation(**augmentation),
        **{key: block[key] for key in ("crop_px", "slice_mm", "attention", "flips")},
        **{key: block[key] for key in ("select", "inner_share")},
    )


def settings_from_plain(plain: Mapping[str, Any]) -> Settings:
    """Inverse of ``Settings.as_dict``, as a weights file keeps it."""
    nested = {
        "training": Training(**plain["training"], **dict.fromkeys(_NO_RESULT, 1)),
        "augmentation": Augmentation(**plain["augmentation"]),
        "inputs": None if plain["inputs"] is None else tuple(plain["inputs"]),
        "target_scale": tuple(plain["target_scale"]),
    }
    return Settings(**{**plain, **nested})
