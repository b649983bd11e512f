"""What settings of all kinds of learner have in common, and what a stage needs. Without torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from spinegrade.crop_shape import CropShape
from spinegrade.errors import SpinegradeError
from spinegrade.losses.registry import LOSSES
from spinegrade.models.registry import MODELS
from spinegrade.near_names import unknown_name
from spinegrade.runtime.timm_names import check_backbone
from spinegrade.training.plan import QUIET, Plan


class Needs(NamedTuple):
    """What a stage of a learner reads and uses.

    ``block``: the learner's keys that the stage uses. ``modules``: those that it names, which join
    its code. Inputs beside the cohort's: ``tables`` (stacks, landmarks, labels), ``sets`` of crops
    in the order of their files, a ``sequence`` set, a ``canvas`` (condition, side in px), the
    shard's ``points`` of other localisers, and the weights of the localiser ``places``.
    ``mem_mb`` of memory and ``cuda_mb`` more beside a GPU, for ``minutes`` at most.
    """

    block: dict[str, Any]
    modules: tuple[str, ...]
    tables: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    sequence: str | None = None
    canvas: tuple[str, int] | None = None
    points: tuple[str, ...] = ()
    places: str | None = None
    mem_mb: int = 4000
    cuda_mb: int = 0
    minutes: int = 720


class House(NamedTuple):
    """What a learner may refer to: other ``learners`` by name, as settings, and the crops.

    ``conditions``: of each set of crops; ``shapes``: of these and of the ``sequences``; ``square``:
    the sets whose crops are. ``folds``: their number.
    """

    learners: Mapping[str, Any]
    conditions: Mapping[str, Collection[str]]
    shapes: Mapping[str, CropShape]
    square: Collection[str]
    sequences: Collection[str]
    folds: int


@dataclass(frozen=True)
class LearnerSettings:
    """One learner; ``block`` is its own of the configuration, all defaults filled in."""

    name: str
    block: Mapping[str, Any]

    @property
    def training(self) -> Mapping[str, Any]:
        """How it is trained."""
        return self.block["training"]

    @property
    def model(self) -> dict[str, Any]:
        """The options of its network, its name left out."""
        return {key: value for key, value in self.block["model"].items() if key != "name"}

    @property
    def model_name(self) -> str:
        """The network's name in ``models``."""
        return self.block["model"]["name"]

    @property
    def loss(self) -> dict[str, Any]:
        """The options of its loss."""
        loss = self.training["loss"]
        return {key: value for key, value in loss.items() if key not in ("name", "part_weights")}

    @property
    def loss_name(self) -> str:
        """The loss's name in ``losses``."""
        return self.training["loss"]["name"]

    @property
    def select(self) -> str:
        """Which epoch's weights are kept; see ``training.fold_studies``."""
        return self.block["select"]

    @property
    def inner_share(self) -> float:
        """The share of the studies that chooses it, where ``select`` is inner."""
        return self.block["inner_share"]

    def keeps(self, fault: str) -> bool:
        """Whether a published fault is kept."""
        return fault in self.block.get("as_published", ())

    def plan(self, fold: int) -> Plan:
        """The training of a fold."""
        return Plan.from_block(self.training, fold)

    def as_dict(self) -> dict[str, Any]:
        """Plain values of all that decides what is learnt, for files and checkpoints."""
        return used_block(self.block)

    @classmethod
    def of_record(cls, name: str, plain: Mapping[str, Any]) -> LearnerSettings:
        """The settings that a file of weights keeps."""
        return cls(name, plain)


def used_block(
    block: Mapping[str, Any], without: Collection[str] = (), faults: Collection[str] = ()
) -> dict[str, Any]:
    """``block`` without keys that a stage does not use, ``faults`` out of ``as_published``.

    In one order, since Snakemake takes another order of the same keys for a change; that of
    ``reads``, which is the order of the files, stays.
    """
    kept = {key: value for key, value in block.items() if key not in without}
    training = block["training"].items()
    kept["training"] = {key: value for key, value in training if key not in QUIET}
    if "as_published" in kept:
        kept["as_published"] = [one for one in kept["as_published"] if one not in faults]
    plain = json.loads(json.dumps(kept, sort_keys=True))
    return plain | ({"reads": kept["reads"]} if "reads" in kept else {})


def that_decides(config: Mapping[str, Any]) -> dict[str, Any]:
    """The validated configuration without what only says how often a training is saved or measured.

    ``runtime.checkpoint_minutes`` and ``plan.QUIET`` of each learner are left out.
    """
    learners = {
        name: {**block, "training": {k: v for k, v in block["training"].items() if k not in QUIET}}
        for name, block in config["learners"].items()
    }
    runtime = {k: v for k, v in config["runtime"].items() if k != "checkpoint_minutes"}
    return {**config, "learners": learners, "runtime": runtime}


def module_names(settings: LearnerSettings, stage: str, *more: str) -> tuple[str, ...]:
    """The modules of the network, of ``more`` networks and, to train, of the loss."""
    modules = [MODELS.module_of(name) for name in (*more, settings.model_name)]
    if stage == "train":
        modules.append(LOSSES.module_of(settings.loss_name))
    return tuple(modules)


def check_training(
    where: str, settings: LearnerSettings, folds: int, parts: Collection[str]
) -> None:
    """Refuse a ``training:`` whose keys contradict each other, by the path of the key.

    ``parts``: the names of the loss's parts, which weights may be given for.
    """
    training, stages = settings.training, settings.training["stages"]
    where = f"{where}.training"
    given = {f"{where}.{key}": training[key] for key in ("epochs", "learning_rate")}
    for number, stage in enumerate(stages):
        given |= {f"{where}.stages.{number}.{k}": stage[k] for k in ("epochs", "learning_rate")}
    for key, value in given.items():
        if isinstance(value, list) and len(value) != folds:
            raise _refused(key, f"is {value}: {len(value)} values for {folds} folds (cohort.folds)")
    if training["patience"] is not None and settings.select == "last":
        raise _refused(
            f"{where}.patience",
            f"is {training['patience']}, but select: last scores no epoch; set patience to null, "
            "or select to inner",
        )
    if training["accumulation"] > training["batch_size"]:
        raise _refused(
            f"{where}.accumulation",
            f"is {training['accumulation']}, more than batch_size ({training['batch_size']})",
        )
    least = training["schedule_epochs"]
    if least is not None and least < settings.plan(0).epochs:
        raise _refused(
            f"{where}.schedule_epochs", f"is {least}, fewer than epochs ({training['epochs']})"
        )
    weights = {f"{where}.loss.part_weights": training["loss"]["part_weights"]}
    weights |= {f"{where}.stages.{n}.part_weights": s.get("part_weights") for n, s in
                enumerate(stages)}  # fmt: skip
    for key, by_part in weights.items():
        for part in by_part or ():
            if part not in parts:
                text = unknown_name(f"{key}.{part}", part, parts, "part of the loss")
                raise SpinegradeError(text, code="LEARNER_SETTINGS", key=f"{key}.{part}")


def check_encoder(where: str, encoder: Mapping[str, Any]) -> None:
    """Refuse an encoder that timm does not know."""
    check_backbone(encoder["backbone"], f"{where}.backbone")


def check_set(key: str, roi_set: str, condition: str, house: House) -> None:
    """Refuse a set of crops that there is not, or that does not serve a ``condition``."""
    refuse_unknown(key, roi_set, house.conditions, "set of crops")
    refuse_unless(
        condition in house.conditions[roi_set],
        key,
        f"is {roi_set!r}, which crops only {list(house.conditions[roi_set])}; add {condition} to "
        f"crop.sets.{roi_set}.conditions",
    )


def refuse_unless(good: bool, key: str, text: str) -> None:
    """Raise SpinegradeError on the setting at the path ``key`` unless it is good."""
    if not good:
        raise _refused(key, text)


def refuse_unknown(key: str, name: str, known: Collection[str], what: str = "") -> None:
    """Raise SpinegradeError on a ``name`` that is none of the ``known``."""
    if name not in known:
        text = unknown_name(key, name, known, what)
        raise SpinegradeError(text, code="NAME_UNKNOWN", key=key)


def _refused(key: str, text: str) -> SpinegradeError:
    return SpinegradeError(f"{key} {text}", code="LEARNER_SETTINGS", key=key)
