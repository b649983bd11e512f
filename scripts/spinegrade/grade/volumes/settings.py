"""A one-stage network: what it looks for, how it is trained, and what its predictions are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.timm_names import check_backbone
from spinegrade.targets import TARGETS, Target
from spinegrade.training.plan import Plan

ByFold = int | float | list[int] | list[float]
"""One value for all folds, or a list with one for each."""

# Names that the ensemble room uses itself.
_RESERVED = ("prior", "ensemble")
# Settings that say when a checkpoint is saved or what is made of predictions, not what is learnt.
_NO_RESULT = ("tta", "ensemble")


@dataclass(frozen=True)
class Finish:
    """Further ``epochs`` at another constant ``learning_rate``, each for all folds or by fold.

    With ``frozen_statistics`` they start from the moving average, and normalisation uses its
    running statistics, as in prediction, not those of each batch: a batch of one or two volumes
    is normalised by itself, and what is learnt so fits the running ones badly. With
    ``only_last_block`` the encoder and all but the decoder's last block keep their weights, so
    that steps are cheap: grades are learnt later than places, in what is nearest to them.
    ``gradient_norm`` is the bound in these epochs: bounding all gradients alike takes most from
    rare grades, whose gradients are the largest. ``part_weights`` None are those of the loss.
    """

    epochs: ByFold
    learning_rate: ByFold
    frozen_statistics: bool = False
    only_last_block: bool = False
    gradient_norm: float | None = None
    part_weights: dict[str, float] | None = None


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    The learning rate is constant, over the ``epochs`` first and then over those of ``finish``;
    ``average_decay`` is that of the weights' moving average, which is what predicts;
    ``gradient_norm`` None does not clip. ``loss`` holds the options of the target's loss, those
    of the other target unused.
    """

    epochs: ByFold
    batch_size: int
    learning_rate: ByFold
    finish: Finish | None
    weight_decay: float
    average_decay: float
    gradient_norm: float | None
    loss: dict[str, Any]
    precision_cpu: str
    precision_cuda: str
    checkpoint_epochs: int


@dataclass(frozen=True)
class Settings:
    """One network of the config's block ``one_stage.networks.<name>``, its defaults filled in.

    ``target`` foraminal or canal. ``canvas_px`` is the side of the square that a slice is brought
    to, ``image_px`` that of what the network sees; its heatmaps' pixel ("mask" pixel) is
    four of those. ``flip`` fixed or bugged: whether reversed slices exchange left and right, or,
    as in the submitted models, do not. ``select`` says which epoch's weights are kept: the last,
    the best on an inner part of the training studies, or (published) the best on the very fold
    that is held out, whose score is then too good. ``tta`` none or left_right.
    """

    name: str
    target: str
    encoder: dict[str, Any]
    decoder: dict[str, Any]
    canvas_px: int
    image_px: int
    partial_studies: bool
    flip: str
    augmentation: dict[str, Any]
    matching: str
    training: Training
    select: str
    inner_share: float
    tta: str
    ensemble: bool

    @property
    def points(self) -> Target:
        """What the network looks for, in the order of its points."""
        return TARGETS[self.target]

    @property
    def architecture(self) -> str:
        """The network's name in ``models``."""
        return f"one_stage_{self.target}"

    @property
    def loss(self) -> str:
        """The loss's name in ``losses``."""
        return f"one_stage_{self.target}"

    @property
    def network_options(self) -> dict[str, Any]:
        """Options of the architecture."""
        options = {
            "encoder": self.encoder,
            "widths": tuple(self.decoder["widths"]),
            "points": len(self.points.points),
        }
        if self.decoder["head_channels"] is not None:
            key = "feature_channels" if self.target == "foraminal" else "z_channels"
            options[key] = self.decoder["head_channels"]
        return options

    @property
    def loss_options(self) -> dict[str, Any]:
        """Options of the loss."""
        given = self.training.loss
        options = {key: given[key] for key in ("grade_mean", "heatmap")}
        options["grade_weights"] = tuple(given["grade_weights"])
        if given["point_sigma_px"] is not None:
            options["point_sigma_px"] = given["point_sigma_px"]
        if self.target == "foraminal":
            return options | {"match_px": given["match_px"], "matching": self.matching}
        return options | {k: given[k] for k in ("pixel_weight", "neighbour_weight")}

    def as_dict(self) -> dict[str, Any]:
        """Plain values of all that decides what is learnt, for a checkpoint's fingerprint."""
        plain = {key: value for key, value in asdict(self).items() if key not in _NO_RESULT}
        del plain["training"]["checkpoint_epochs"]
        return plain


def plan_of(settings: Settings, fold: int) -> Plan:
    """The plan of a ``fold``: constant rates, the finish a stage of its own."""
    training, block = settings.training, asdict(settings.training)
    finish, block["stages"] = block.pop("finish"), []
    if finish:
        names = {"frozen_statistics": "statistics", "only_last_block": "all_but_last_block"}
        frozen = [name for key, name in names.items() if finish.pop(key)]
        block["stages"] = [{**finish, "frozen": frozen}]
    return Plan.from_block(block, fold, part_weights=training.loss["part_weights"])


def settings_from_config(name: str, block: Mapping[str, Any]) -> Settings:
    """The network ``name`` from its block of the config, validated and with all defaults."""
    training = dict(block["training"])
    finish = training.pop("finish")
    rest = {key: value for key, value in block.items() if key != "training"}
    return Settings(
        name=name,
        training=Training(finish=Finish(**finish) if finish else None, **training),
        **rest,
    )


def check_networks(
    blocks: Mapping[str, Mapping[str, Any]], folds: int, taken: Collection[str] = ()
) -> None:
    """Refuse networks whose settings do not fit together.

    ``folds`` is the number of folds, ``taken`` the classifiers' names. Raises SpinegradeError with
    the key's path, the value and what is allowed: for an encoder that timm does not know,
    a value by fold for another number of folds, an image larger than its canvas, augmentation
    that cannot be, a matching of points that the target has not, and a name that is another's.
    """
    for name, block in blocks.items():
        where = f"one_stage.networks.{name}"
        if name in taken or name in _RESERVED:
            raise SpinegradeError(
                f"{where}: the name is that of a classifier or of the ensemble; give the network "
                "another name"
            )
        settings = settings_from_config(name, block)
        check_backbone(settings.encoder["backbone"], f"{where}.encoder.backbone")
        if settings.image_px > settings.canvas_px:
            raise SpinegradeError(
                f"{where}.image_px is {settings.image_px}, larger than canvas_px "
                f"({settings.canvas_px}); allowed: at most that"
            )
        if settings.target == "canal" and settings.matching != "fixed":
            raise SpinegradeError(
                f"{where}.matching is {settings.matching!r}: only the foraminal loss matches "
                "points; leave the key out"
            )
        _check_augmentation(f"{where}.augmentation", settings.augmentation)
        _check_by_fold(f"{where}.training", settings.training, folds)


def _check_augmentation(where: str, given: Mapping[str, Any]) -> None:
    shares = [given[key] for key in ("align", "homography") if key in given]
    if sum(shares) > 1:
        raise SpinegradeError(
            f"{where}: align and homography are {shares}, shares of one whole; allowed: together "
            "at most 1"
        )
    for key in ("scale", "noise_variance"):
        if key in given and given[key][0] > given[key][1]:
            raise SpinegradeError(
                f"{where}.{key} is {given[key]}; allowed: a lower and then an upper limit"
            )


def _check_by_fold(where: str, training: Training, folds: int) -> None:
    given = {"epochs": training.epochs, "learning_rate": training.learning_rate}
    if training.finish:
        given["finish.epochs"] = training.finish.epochs
        given["finish.learning_rate"] = training.finish.learning_rate
    for key, value in given.items():
        if isinstance(value, list) and len(value) != folds:
            raise SpinegradeError(
                f"{where}.{key} is {value}: {len(value)} values for {folds} folds "
                "(cohort.folds); give one a fold, or one number for all"
            )
