"""How a learner is trained: the one vocabulary of every block ``training:``, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

QUIET = ("checkpoint_epochs", "validate_every")
"""Keys of a block ``training:`` that change nothing of what is learnt."""
STATISTICS = "statistics"
"""In ``frozen``: normalisation uses the moving average's running statistics and leaves them."""


@dataclass(frozen=True)
class Stage:
    """Epochs that share a rate, a bound of the gradient's norm and weights of the loss's parts.

    ``gradient_norm`` None does not clip; ``part_weights`` None are those of the plan. ``frozen``
    names what keeps its weights: ``STATISTICS``, of which the engine takes care, and names that
    ``network.freeze`` knows. Where statistics are frozen, training starts from the moving average.
    """

    epochs: int
    learning_rate: float
    gradient_norm: float | None = None
    part_weights: Mapping[str, float] | None = None
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The training of one fold.

    ``epochs`` follow ``schedule`` (a name of ``optimise.SCHEDULES``), sized for
    ``schedule_epochs`` (None: ``epochs``) and shaped by ``warm_up``, a share of it, and
    ``cycles``; ``stages`` follow, each at its own constant rate. A step takes ``batch_size``
    samples in ``accumulation`` parts. ``decay`` (a name of ``optimise.DECAYS``) says which
    parameters decay. ``part_weights`` None weighs all parts of the loss alike. ``patience``:
    without a better choice for so many epochs training ends (None: never). ``validate_every`` so
    many epochs, and at the end, the held-out fold is measured for the history (None: never).
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    average_decay: float
    schedule: str = "constant"
    decay: str = "all"
    schedule_epochs: int | None = None
    accumulation: int = 1
    warm_up: float = 0.0
    cycles: float = 0.5
    gradient_norm: float | None = None
    part_weights: Mapping[str, float] | None = None
    patience: int | None = None
    stages: tuple[Stage, ...] = ()
    precision_cpu: str = "float32"
    precision_cuda: str = "float32"
    checkpoint_epochs: int = 1
    validate_every: int | None = None

    @classmethod
    def from_block(cls, block: Mapping[str, Any], fold: int, **fixed: Any) -> Plan:
        """The plan of a ``fold`` by a block ``training:``; ``fixed`` is what a kind settles itself.

        A list of ``epochs`` or of a ``learning_rate`` has a value for each fold. Keys that are
        the kind's own, such as options of its loss, are left out, but for
        ``loss.part_weights``.
        """
        known = {field.name for field in fields(cls)} - {"stages"}
        given = {key: of_fold(value, fold) for key, value in block.items() if key in known}
        loss = block.get("loss")
        if isinstance(loss, Mapping) and "part_weights" in loss:
            given["part_weights"] = loss["part_weights"]
        given["stages"] = tuple(
            Stage(**{key: of_fold(value, fold) for key, value in stage.items() if key != "frozen"},
                  frozen=tuple(stage.get("frozen", ())))
            for stage in block.get("stages") or ()
        )  # fmt: skip
        return cls(**{**given, **fixed})

    @property
    def all_epochs(self) -> int:
        """The epochs of all stages."""
        return self.epochs + sum(stage.epochs for stage in self.stages)

    def stage_of(self, epoch: int) -> Stage:
        """The stage of an ``epoch``, counted from 0; the first is the plan's own."""
        own = Stage(self.epochs, self.learning_rate, self.gradient_norm, self.part_weights)
        end = 0
        for stage in (own, *self.stages):
            end += stage.epochs
            if epoch < end:
                return stage
        raise IndexError(f"epoch {epoch} of {end}")


def of_fold(value: Any, fold: int) -> Any:
    """The value of a fold: of a list the one at its place."""
    return value[fold] if isinstance(value, list) else value
