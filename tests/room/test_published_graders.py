"""Every grader of the published blend: trains two steps, predicts and joins the ensemble.

As its recipe says, but without pretrained weights and on crops of 32 px.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from snakemake.utils import update_config
from spinegrade.combine.stage import EnsembleInputs, EnsembleOutputs, EnsembleSettings, fit_ensemble
from spinegrade.crop_shape import CropShape
from spinegrade.regions.lumbar_mri import LUMBAR_MRI
from spinegrade.settings import check_settings
from spinegrade.tables.files import read_table
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS
from spinegrade.tables.predictions import PREDICTIONS
from spinegrade.training.checkpoint import Checkpoint
from two_stage_helpers import SHAPES, given_of, predict, train, write_cohort

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = ("two_stage_sagittal", "two_stage_axial", "two_stage_all_view")
# The made-up crops hold five slices; recipes ask for three, five or, beside, seven.
MADE_UP = {"canal": "canal_set", "foraminal": "foramen_set"}
MADE_UP |= {"subarticular": "recess_set", "beside": "beside_set"}


def published() -> dict[str, dict[str, Any]]:
    """The recipes' graders by name, each with the slices of its crops."""
    found = {}
    below = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    for recipe in RECIPES:
        above = yaml.safe_load((PROJECT / "resources/systems" / f"{recipe}.yaml").read_text())
        config = copy.deepcopy(below)
        update_config(config, above)
        check_settings(config)
        for name in above["learners"]:
            block = config["learners"][name]
            slices = {
                # ten are sampled of a stack, of which five are seen
                shown: config["crop"]["sets"][crop]["slices"].get("count") or 5
                for shown, crop in block["reads"].items()
            }
            found[name] = block | {"slices": slices}
    return found


def shape_of(slices: int) -> CropShape:
    """Crops of three slices, or of all five where more are asked for."""
    margin = 1 if slices == 3 else 0
    return CropShape(slices=5 - 2 * margin, slice_margin=margin, rows=32, cols=32, margin_px=0)


GRADERS = published()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> dict[str, Any]:
    return write_cohort(tmp_path_factory.mktemp("cohort"), studies=4)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tables")


def test_the_blend_has_twenty() -> None:
    assert len(GRADERS) == 20


@pytest.mark.parametrize("name", GRADERS)
def test_it_trains_two_steps_and_predicts(name, cohort, tables, tmp_path, monkeypatch) -> None:
    torch.set_num_threads(1)
    # Other tests resume; here it would be most of a gigabyte a fold.
    monkeypatch.setattr(Checkpoint, "save", lambda self, state: None)
    block = copy.deepcopy(GRADERS[name])
    slices = block.pop("slices")
    shapes = SHAPES | {MADE_UP[kind]: shape_of(count) for kind, count in slices.items()}
    block["reads"] = {shown: MADE_UP[shown] for shown in block["reads"]}
    if "sequence" in block:
        block["sequence"] = "levels"
    for key in ("encoder", "axial_encoder"):
        if block["model"].get(key):
            block["model"][key]["pretrained"] = None
    # A fold learns from two studies, which are ten levels.
    rows = 5 if block["kind"] == "levels" else 1
    block["training"] |= {"epochs": 1, "schedule_epochs": 1, "batch_size": rows, "accumulation": 1}
    given = given_of(shapes)
    weights = [train(tmp_path, cohort, block, fold, name, given) for fold in (0, 1)]
    predict(tables, cohort, block, [str(path) for path in weights], name, given)
    for path in weights:
        path.unlink()  # the largest are some 300 MB
    found = read_table(tables / f"{name}_out_of_fold.parquet", PREDICTIONS)
    assert set(found["study"]) == {f"s{number:03d}" for number in range(4)}
    assert found[list(PROBABILITY_COLUMNS)].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)


def test_they_join_the_ensemble(cohort, tables, tmp_path) -> None:
    names = [name for name in GRADERS if (tables / f"{name}_new.parquet").exists()]
    if len(names) < len(GRADERS):
        pytest.skip("some graders were not asked to predict")
    files = {
        name: [str(tables / f"{name}_{part}.parquet") for part in ("out_of_fold", "new")]
        for name in names
    }
    parts = (
        "weights.json",
        "probabilities.parquet",
        "prior.parquet",
        "filled.parquet",
        "score.json",
    )
    outputs = EnsembleOutputs(*(tmp_path / part for part in parts))
    fit_ensemble(
        EnsembleInputs(cohort["labels"], cohort["studies"], files),
        cohort["folds"],
        outputs=outputs,
        settings=EnsembleSettings(leave_one_out=False, bootstrap_resamples=50),
        region=LUMBAR_MRI,
    )
    score = json.loads(outputs.score.read_text())
    assert set(score["classifiers"]) == set(GRADERS)
    served = {name: len(conditions) for name, conditions in score["served"].items()}
    assert sum(served[name] for name in GRADERS) == 10 + 5 + 3 * 5
