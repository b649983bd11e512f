"""What was learnt by fold, and who may use it: nothing predicts a study that it has seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from spinegrade.errors import SpinegradeError
from spinegrade.tables.files import read_table
from spinegrade.tables.folds import FOLDS
from spinegrade.tables.studies import STUDIES


class OfFold(Protocol):
    """What was learnt without one fold, with the studies that it may not be used for."""

    @property
    def fold(self) -> int: ...  # noqa: D102
    @property
    def refused(self) -> set[str]: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102


Model = TypeVar("Model", bound=OfFold)


class Cohort(NamedTuple):
    """Usable ``studies``, sorted, which of them are ``new``, and the ``folds`` of the others.

    ``folds`` None: all are new, to models that were trained elsewhere.
    """

    studies: list[str]
    new: frozenset[str]
    folds: Mapping[str, int] | None

    def fold_of(self, study: str) -> int | None:
        """The fold of a training study, None of a new one.

        Raises SpinegradeError for a training study without a fold.
        """
        if study in self.new:
            return None
        if self.folds is None or study not in self.folds:
            raise SpinegradeError(
                f"study {study}: a training study without a fold; make the folds table again with "
                "the rule split_folds"
            )
        return self.folds[study]


def read_cohort(inputs: Mapping[str, Sequence[str]], shard: int | None = None) -> Cohort:
    """The usable studies of the tables ``studies`` and ``folds``, of one ``shard`` or all.

    Without a table of folds all studies are new.
    """
    table = read_table(inputs["studies"][0], STUDIES)
    table = table[table["problem"].isna()]
    if shard is not None:
        table = table[table["shard"] == shard]
    if not inputs["folds"]:
        return Cohort(sorted(table["study"]), frozenset(table["study"]), None)
    folds = read_table(inputs["folds"][0], FOLDS)
    new = frozenset(table.loc[table["split"] == "test", "study"])
    by_study = dict(zip(folds["study"], folds["fold"].astype(int).tolist(), strict=True))
    return Cohort(sorted(table["study"]), new, by_study)


class FoldModels(Generic[Model]):
    """``models`` of the learner ``name``, in the order of their folds, for a ``cohort``.

    Raises SpinegradeError where one has seen a study that it would look at, and where the folds
    are not those of the cohort.
    """

    def __init__(self, name: str, models: Iterable[Model], cohort: Cohort) -> None:
        self.name, self.cohort = name, cohort
        self.models = sorted(models, key=lambda one: one.fold)
        folds = cohort.folds or {}
        for one in self.models:
            looked_at = {s for s in cohort.studies if s in cohort.new or folds.get(s) == one.fold}
            leaked = sorted(one.refused & looked_at)
            if leaked:
                raise SpinegradeError(
                    f"{one.path} was trained on {len(leaked)} studies that it is to predict, "
                    f"{leaked[0]} among them: the folds changed since; train {name} again"
                )
        given, wanted = [one.fold for one in self.models], sorted(set(folds.values()))
        if cohort.folds is not None and given != wanted:
            raise SpinegradeError(
                f"{name}: there are models of the folds {given}, but the cohort has the folds "
                f"{wanted}; train it for each of these"
            )

    def of(self, study: str) -> tuple[list[Model], str]:
        """The models that may look at a study, and what to call their result's source.

        A training study has the one of its own fold, a new one all. Raises SpinegradeError for a
        training study without a fold.
        """
        fold = self.cohort.fold_of(study)
        if fold is None:
            return self.models, f"{self.name}:mean"
        return [one for one in self.models if one.fold == fold], f"{self.name}:fold_{fold}"

    def by_source(self, studies: Iterable[str]) -> list[tuple[list[str], list[Model]]]:
        """The ``studies``, each once and in their order, with the models that may look at them."""
        found: dict[str, tuple[list[str], list[Model]]] = {}
        for study in dict.fromkeys(studies):
            models, source = self.of(study)
            found.setdefault(source, ([], models))[0].append(study)
        return list(found.values())
