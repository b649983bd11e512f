"""A second region: what is general holds nothing of the lumbar spine, nor of its module."""

from __future__ import annotations

import math
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml
from refusals import refused
from spinegrade.combine.board import Board, gather
from spinegrade.combine.combine import fit_combinations
from spinegrade.combine.compare import Work, compare_work
from spinegrade.combine.prior import cross_fitted_prior, fit_prior
from spinegrade.combine.scores import score_report
from spinegrade.crop.settings import roi_set_from_config
from spinegrade.metrics import score
from spinegrade.metrics.log_loss import cell_losses
from spinegrade.metrics.score import StudySums, metric_names
from spinegrade.regions.of_cohort import REGION_OF_COHORT
from spinegrade.regions.region import Cell, Region, Target
from spinegrade.regions.registry import modules_of, region_named, region_names
from spinegrade.runtime import fingerprint
from spinegrade.tables.cell_columns import CONDITIONS, LEVELS, SIDES
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS

PROJECT = Path(__file__).resolve().parents[2]
C_LEVELS = tuple(f"c{number}" for number in range(1, 8))
NECK = Region(
    name="neck",
    spine="cervical",
    levels=C_LEVELS,
    sides={"fracture": ("central",)},
    cells=tuple(Cell("fracture", level, "central") for level in C_LEVELS),
    grade_names=("normal_mild", "moderate", "severe"),
    grade_weights=(1.0, 1.0, 2.0),
    overall=None,
    metric="neck_score",
    targets={},
)
FOLD = pd.Series(pd.array([0, 1, 0, 1], "Int64"), index=["a", "b", "c", "d"])


class _Score(NamedTuple):
    total: float
    fracture: float

    def as_dict(self) -> dict[str, float]:
        return self._asdict()


def _study_sums(condition, grade, study, probabilities, studies) -> StudySums:
    loss, weight = cell_losses(probabilities, grade, NECK.grade_weights)
    sums = [np.bincount(study, part, studies)[:, None] for part in (loss * weight, weight)]
    return StudySums(*sums, metric="neck_score")


@pytest.fixture
def neck_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric of one part, which counts as one of the package."""
    metric = types.ModuleType("spinegrade.metrics.neck_score")
    metric.PARTS = metric.PART_CONDITIONS = ("fracture",)
    metric.study_sums = _study_sums
    metric.score_sums = lambda loss, weight: _Score(*[float(loss[0] / weight[0])] * 2)
    monkeypatch.setitem(sys.modules, metric.__name__, metric)
    monkeypatch.setattr(score, "metric_names", lambda: ["neck_score"])


def labels_of(grades: dict[str, list[int | None]]) -> pd.DataFrame:
    rows = [
        (study, *cell, grade)
        for study, values in grades.items()
        for cell, grade in zip(NECK.cells, values, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["study", "condition", "level", "side", "grade"])
    return table.assign(grade=pd.array(table["grade"], "Int64"))


LABELS = labels_of({"a": [0] * 7, "b": [2, *[0] * 6], "c": [1, *[0] * 5, None], "d": [0] * 6 + [2]})


def board() -> Board:
    prior = cross_fitted_prior(LABELS, FOLD, NECK)[0]
    net = prior.assign(classifier="net")
    columns = list(NECK.probability_columns)
    own = LABELS["grade"].fillna(0).astype(int)
    at = pd.MultiIndex.from_frame(net[["study", "level"]])
    place = pd.MultiIndex.from_frame(LABELS[["study", "level"]]).get_indexer(at)
    net[columns] = np.full((3, 3), 0.2)[own.to_numpy()[place]]
    net[columns] += 0.4 * np.eye(3)[own.to_numpy()[place]]
    return gather(LABELS, FOLD, prior, {"net": net}, NECK)


def test_the_prior_is_weighted_as_the_region_says() -> None:
    labels = labels_of({"a": [0] * 7, "b": [2, *[0] * 6]})
    # 13 of grade 0 and one of grade 2; none of grade 1, so each gets one more: 14, 1, 2 of 17.
    # At c1 (1, 0, 1) and three times the shares, by the weights 1, 1, 2: 59, 3, 46 of 108.
    found = fit_prior(labels, NECK)
    assert list(found) == ["fracture"] and list(found["fracture"]) == list(C_LEVELS)
    assert found["fracture"]["c1"] == pytest.approx([59 / 108, 3 / 108, 46 / 108])


def test_members_are_combined_and_scored_by_the_region_and_its_metric(neck_score: None) -> None:
    gathered = board()
    assert len(gathered.fold) == 4 * 7 and gathered.served.shape == (2, 1)
    fitted, cross_fitted, in_sample = fit_combinations(gathered)
    assert fitted.members == {"fracture": ("prior", "net")}
    uniform = np.full((28, 3), 1 / 3)
    report = score_report(gathered, uniform, in_sample, None, 20, 0)
    assert report["ensemble"] == {"total": round(math.log(3), 9), "fracture": round(math.log(3), 9)}
    # The net gives each true grade 0.6.
    assert report["classifiers"]["net"]["total"] == pytest.approx(-math.log(0.6), abs=1e-9)
    better = score_report(gathered, cross_fitted, in_sample, None, 20, 0)["ensemble"]["total"]
    assert better < report["prior"]["total"]


def test_learners_are_compared_by_the_regions_own_metric(neck_score: None) -> None:
    gathered = board()
    net = gathered.predictions(gathered.values[1], "net")
    even = gathered.predictions(np.full((28, 3), 1 / 3), "even")
    found = compare_work(Work(None, net), Work(None, even), LABELS, NECK, 20, 0)
    assert list(found) == ["fracture"] and found["fracture"]["studies"] == 4
    # The net gives each true grade 0.6, in every study.
    assert found["fracture"]["difference"]["value"] == pytest.approx(math.log(1 / 3 / 0.6))


def test_a_roi_set_is_of_the_points_of_its_region() -> None:
    points = tuple(Cell("fracture", level, "central") for level in C_LEVELS)
    region = replace(NECK, targets={"arch": Target("arch", "axial", "t2", points)})
    plane = {"unit": "mm", "size": 40, "output_px": 32}
    block = {"detector": "d", "conditions": ["arch"], "in_plane": plane}
    assert roi_set_from_config("x", block, region).conditions == ("fracture",)
    sampled = {"slices": {"sampled": {"part": "side"}}}
    with refused("CROPS_SIDE_OF_CANAL", "arch", key="crop.sets.x.slices.sampled.part"):
        roi_set_from_config("x", block | sampled, region)


def test_a_cell_of_another_region_is_refused() -> None:
    prior = cross_fitted_prior(LABELS, FOLD, NECK)[0]
    lumbar = LABELS.assign(level="l1_l2")[:1]
    with refused("PREDICTION_CELL_UNKNOWN", "level=l1_l2", "cervical spine"):
        gather(lumbar, FOLD, prior, {}, NECK)


def test_every_kind_of_cohort_has_a_region_in_the_words_of_the_tables() -> None:
    schema = yaml.safe_load((PROJECT / "resources/schemas/config/cohort.yaml").read_text())
    assert sorted(schema["properties"]["kind"]["enum"]) == sorted(REGION_OF_COHORT)
    assert {*REGION_OF_COHORT.values()} <= {*region_names()}
    for name in region_names():
        region = region_named(name)
        assert region.name == name and region.metric in metric_names()
        assert {*region.conditions} <= {*CONDITIONS} and {*region.levels} <= {*LEVELS}
        assert {side for sides in region.sides.values() for side in sides} <= {*SIDES}
        assert region.probability_columns == PROBABILITY_COLUMNS
        assert {*region.cells} == {
            Cell(condition, level, side)
            for condition, sides in region.sides.items()
            for side in sides
            for level in region.levels
        }


@pytest.mark.parametrize(
    "stage", ["fit_ensemble", "apply_ensemble", "write_submission", "compare", "crop_rois"]
)
def test_an_edit_of_a_region_changes_the_code_of_its_own_stages_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    copied = tmp_path / "scripts"
    shutil.copytree(fingerprint.SCRIPTS, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "SCRIPTS", copied)
    regions = copied / "spinegrade" / "regions"
    (regions / "neck.py").write_text("NECK = 1\n")
    (copied / "spinegrade" / "metrics" / "neck_score.py").write_text('PARTS = ("fracture",)\n')
    modules = {
        "lumbar_mri": modules_of("lumbar_mri"),
        "neck": ("spinegrade.regions.neck", "spinegrade.metrics.neck_score"),
    }

    def codes() -> dict[str, str]:
        return {name: fingerprint.code_fingerprint(stage, *of) for name, of in modules.items()}

    for edited in modules:
        before = codes()
        with (regions / f"{edited}.py").open("a") as file:
            file.write("\nMORE = 1\n")
        changed = {name for name, code in codes().items() if code != before[name]}
        assert changed == {edited}
