"""What the report reads: the other rooms' tables, loaded and checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from spinegrade.metrics.points import affines_of, point_errors
from spinegrade.runtime.files import read_json
from spinegrade.tables.files import Kind, empty_table, read_table, read_tables
from spinegrade.tables.keypoints import KEYPOINTS
from spinegrade.tables.labels import LABELS
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.tables.probabilities import PROBABILITIES
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.studies import STUDIES
from spinegrade.tables.truth import TRUTH
from spinegrade.volumes import Stack, load_stacks


@dataclass(frozen=True)
class Paths:
    """Files of a finished run, in the layout that every rule writes.

    Lists hold one file a shard. ``keypoints`` <detector>/<shard>.parquet, ``crop_tables`` and
    ``crop_arrays`` <roi set>/<shard>/rois.*, ``histories`` <model>/fold_<fold>/history.csv:
    names are read from the folders. ``truth`` exists for phantoms alone. ``graphs`` is a folder
    with rule_graph.svg and job_graph.svg, ``run_record`` the run's record.
    """

    studies: str
    labels: str
    rejected: list[str]
    stacks: list[str]
    landmarks: list[str]
    keypoints: list[str]
    crop_tables: list[str]
    crop_arrays: list[str]
    histories: list[str]
    probabilities: str
    prior: str
    score: str
    filled: str
    benchmarks: str
    mean_shape: str | None = None
    truth: str | None = None
    graphs: str | None = None
    run_record: str | None = None


@dataclass(frozen=True)
class Options:
    """What a user chooses of the report, and what the run says of itself.

    ``fingerprints``: of the code of every stage, by its name, which is its rule's.
    """

    examples: int
    crops_per_grade: int
    findings: int
    seed: int
    fingerprints: dict[str, str]
    config: dict[str, Any] = field(default_factory=dict)


def _points(paths: list[str], kind: Kind) -> pd.DataFrame:
    return read_tables(paths, kind) if paths else empty_table(kind)


class RunData:
    """The tables of a run, each read when first asked for and kept."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    @cached_property
    def studies(self) -> pd.DataFrame:
        """The studies table."""
        return read_table(self.paths.studies, STUDIES)

    @cached_property
    def labels(self) -> pd.DataFrame:
        """The labels table of the studies that have predictions."""
        labels = read_table(self.paths.labels, LABELS)
        return labels[labels["study"].isin(self.probabilities["study"].unique())]

    @cached_property
    def probabilities(self) -> pd.DataFrame:
        """The ensemble's probabilities of all studies."""
        return read_table(self.paths.probabilities, PROBABILITIES)

    @cached_property
    def prior(self) -> pd.DataFrame:
        """The cross-fitted prior of all studies."""
        return read_table(self.paths.prior, PREDICTIONS)

    @cached_property
    def score(self) -> dict[str, Any]:
        """score.json: intervals, members alone, a phantom's floor."""
        return read_json(self.paths.score)

    @cached_property
    def filled(self) -> pd.DataFrame:
        """Cells in which the prior stands in, as filled.csv has them: texts all, empty for none."""
        return pd.read_csv(self.paths.filled, dtype="str", keep_default_na=False)

    @cached_property
    def lacking(self) -> dict[str, dict[tuple[str, str, str], str]]:
        """By study and (condition, level, side) the members that lack the cell, by commas."""
        found: dict[str, dict[tuple[str, str, str], str]] = {}
        columns = ["study", "condition", "level", "side", "lacking"]
        for study, *cell, names in self.filled[columns].itertuples(index=False):
            condition, level, side = cell
            found.setdefault(study, {})[condition, level, side] = names
        return found

    @cached_property
    def new_studies(self) -> list[str]:
        """Studies in no fold: their grades come from all fold models together."""
        unfolded = self.probabilities.loc[self.probabilities["fold"].isna(), "study"]
        return sorted(unfolded.unique())

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """Everything left out, of all rooms."""
        return _points(self.paths.rejected, REJECTED).drop_duplicates()

    @cached_property
    def stacks(self) -> dict[tuple[str, str, int], Stack]:
        """Converted volumes by (study, series, stack)."""
        return {(s.study, s.series, s.stack): s for s in load_stacks(self.paths.stacks)}

    @cached_property
    def landmarks(self) -> pd.DataFrame:
        """Annotated points with their place in patient space."""
        return _points(self.paths.landmarks, LOCATED_LANDMARKS)

    @cached_property
    def keypoints(self) -> pd.DataFrame:
        """Predicted points of all detectors, with a column detector."""
        parts = [
            read_table(path, KEYPOINTS).assign(detector=Path(path).parent.name)
            for path in self.paths.keypoints
        ]
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def truth(self) -> pd.DataFrame | None:
        """A phantom's truth; None for a real cohort."""
        return read_table(self.paths.truth, TRUTH) if self.paths.truth else None

    @cached_property
    def reference(self) -> pd.DataFrame:
        """The points that keypoints are held against, with a column anatomy."""
        if self.truth is None:
            return self.landmarks.assign(anatomy="unknown")
        return self.truth

    @cached_property
    def point_errors(self) -> pd.DataFrame:
        """``metrics.points.point_errors`` of each detector, with columns detector and anatomy.

        Against the phantom's true points, else the annotated ones.
        """
        affines = affines_of(self.stacks.values())
        errors = point_errors(self.keypoints, self.reference, affines)
        anatomy = self.reference.drop_duplicates("study").set_index("study")["anatomy"]
        return errors.assign(anatomy=errors["study"].map(anatomy))

    @cached_property
    def histories(self) -> dict[str, dict[int, pd.DataFrame]]:
        """Training histories: model -> fold -> table of epochs."""
        found: dict[str, dict[int, pd.DataFrame]] = {}
        for path in map(Path, self.paths.histories):
            fold = int(path.parent.name.removeprefix("fold_"))
            found.setdefault(path.parent.parent.name, {})[fold] = pd.read_csv(path)
        return found

    def crops(self) -> dict[str, tuple[list[str], list[str]]]:
        """roi set -> (rois.parquet, rois.npy) of its shards."""
        found: dict[str, tuple[list[str], list[str]]] = {}
        for table, array in zip(self.paths.crop_tables, self.paths.crop_arrays, strict=True):
            tables, arrays = found.setdefault(Path(table).parent.parent.name, ([], []))
            tables.append(table)
            arrays.append(array)
        return found
