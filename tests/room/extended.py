"""Run in a copy of the project that holds the files of docs/extending.md: try what they add.

python extended.py <step> <config> [<config> ...]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from cell_helpers import SHAPES as CELL_SHAPES
from cell_helpers import given_of as given_of_cells
from cell_helpers import inputs_of
from cell_helpers import write_cohort as write_cells
from learner_helpers import predict_grades, train_fold
from snakemake.utils import update_config
from spinegrade.crop.settings import roi_set_from_config
from spinegrade.learners import Crops, Learner, check_learners, learners_of
from spinegrade.losses.registry import build as build_loss
from spinegrade.models.registry import build as build_model
from spinegrade.regions.lumbar_mri import LUMBAR_MRI
from spinegrade.settings import check_settings
from spinegrade.systems import check_systems, systems_of
from spinegrade.tables.files import read_table
from spinegrade.tables.predictions import PREDICTIONS
from two_stage_helpers import SHAPES, given_of, predict, train, write_cohort


def checked(configs: list[str]) -> tuple[dict[str, Any], dict[str, Learner], Crops]:
    """The configuration as the workflow checks it."""
    config: dict[str, Any] = {}
    for path in ("workflow_config.yaml", *configs):
        update_config(config, yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    check_settings(config)
    learners = learners_of(config["learners"])
    blocks = config["crop"]["sets"]
    sets = {name: roi_set_from_config(name, block, LUMBAR_MRI) for name, block in blocks.items()}
    crops = Crops(
        {name: block["conditions"] for name, block in blocks.items()},
        {name for name, one in sets.items() if one.in_plane.is_square},
        [],
        {name: one.shape for name, one in sets.items()},
    )
    check_learners(learners, crops, config["cohort"]["folds"], [])
    check_systems(systems_of(config["systems"]), config["run"], learners, learners)
    return config, learners, crops


def network(configs: list[str]) -> None:
    """It is built as its kind builds it, grades crops, trains and predicts."""
    config, learners, crops = checked(configs)
    settings = learners["foramen_maximum"].settings
    assert "spinegrade.models.view_maximum" in learners["foramen_maximum"].modules("predict")
    net = build_model(settings.model_name, **settings.network_options(crops.shapes)).eval()
    there = torch.ones(2, 2, 5, dtype=torch.bool)
    logits = net(torch.zeros(2, 2, 5, 3, 64, 64), there)
    assert logits.shape == (2, 2, 5, 3) and net.head[0].out_features == 16
    block = dict(config["learners"]["foramen_maximum"])
    block |= {"reads": {"foraminal": "foramen_set"}}
    block["training"] |= {"epochs": 1}
    _trained_and_predicted(block)


def loss(configs: list[str]) -> None:
    """It is named by the learner, equals a cross entropy where gamma is 0, and trains."""
    config, learners, _ = checked(configs)
    one = learners["foramen_maximum"]
    assert "spinegrade.losses.column_focal" in one.modules("train")
    assert one.settings.loss == {"gamma": 1.5}
    draws = torch.Generator().manual_seed(1)
    logits = torch.randn(8, 1, 3, generator=draws)
    grades = torch.tensor([[0], [1], [2], [-1], [0], [1], [2], [-1]])
    plain = build_loss("column_cross_entropy")(logits, grades)
    assert torch.allclose(build_loss("column_focal", gamma=0.0)(logits, grades), plain)
    assert build_loss("column_focal")(logits, grades) < plain
    block = dict(config["learners"]["foramen_maximum"])
    block |= {"reads": {"foraminal": "foramen_set"}}
    block["training"] |= {"epochs": 1}
    _trained_and_predicted(block)


def kind(configs: list[str]) -> None:
    """It is a grader of its own that trains and predicts, and its key is known."""
    config, learners, _ = checked(configs)
    one = learners["foramen_even"]
    assert (one.room, one.settings.evenness) == ("grade", 0.5)
    assert one.modules("train")[0] == "spinegrade.grade.even_cells.kind"
    block = dict(config["learners"]["foramen_even"]) | {"reads": {"foraminal": ["foramen"]}}
    block["training"] |= {"epochs": 1}
    kind_of, given = ("grade", "even_cells"), given_of_cells(("foramen",))
    assert "foramen" in CELL_SHAPES
    with tempfile.TemporaryDirectory() as folder:
        cohort = write_cells(Path(folder))
        inputs = inputs_of(cohort, ("foramen",))
        weights = [
            str(train_fold(Path(folder), kind_of, "even", fold, block, inputs, given))
            for fold in range(3)
        ]
        inputs |= {"weights": weights}
        outputs = predict_grades(Path(folder), kind_of, "even", block, inputs, given)
        assert len(read_table(outputs["out_of_fold"], PREDICTIONS)) == 6 * 10


def _trained_and_predicted(block: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort, given = write_cohort(folder, studies=4), given_of(SHAPES)
        weights = [str(train(folder, cohort, block, fold, "grader", given)) for fold in (0, 1)]
        predict(folder, cohort, block, weights, "grader", given)
        assert len(read_table(folder / "grader_out_of_fold.parquet", PREDICTIONS))


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"network": network, "loss": loss, "kind": kind}[sys.argv[1]](sys.argv[2:])
