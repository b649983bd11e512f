"""What each kind of learner makes of its block, needs of others, and refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from learner_blocks import PROJECT, config_with, merged, settings_of
from refusals import refused
from snakemake.utils import update_config
from spinegrade.crop_shape import CropShape
from spinegrade.learners import Crops, Learner, check_learners, learners_of
from spinegrade.schemas import load_schema
from spinegrade.settings import check_settings
from spinegrade.systems import check_systems, systems_of
from spinegrade.training.kinds import kind_module, room_of_kind

RECIPES = sorted((PROJECT / "resources" / "systems").glob("*.yaml"))
ENCODER = {"backbone": "test_resnet"}
SHAPES = {
    "t1": CropShape(3, 1, 64, 64, 8),
    "t2": CropShape(3, 1, 64, 64, 8),
    "wide": CropShape(3, 1, 48, 64, 8),
    "edged": CropShape(3, 1, 64, 64, 4),
    "axial": CropShape(5, 0, 48, 48, 8),
    "beside": CropShape(7, 0, 64, 64, 0),
    "levels": CropShape(3, 0, 256, 256, 0),
}
CROPS = Crops(
    {
        "t1": ["foraminal"],
        **{name: ["canal"] for name in ("t2", "wide", "edged")},
        **{name: ["subarticular"] for name in ("axial", "beside")},
    },
    {"t1", "t2", "axial"},
    ["levels"],
    SHAPES,
)
GRID = {"slices": 15, "rows": 32, "cols": 32, "pixel_mm": 2}
# The least that a block of each kind says; of views one of single ones and one of axial crops.
BLOCKS: dict[str, dict[str, Any]] = {
    "heatmap": {"kind": "heatmap", "finds": "foraminal", "input": GRID},
    "coordinates": {"kind": "coordinates", "finds": "canal", "model": {"encoder": ENCODER}},
    "axial_levels": {"kind": "axial_levels", "xy_from": "xy", "model": {"encoder": ENCODER}},
    "cells": {"kind": "cells", "reads": {"canal": ["t2"]}, "model": {"encoder": ENCODER}},
    "views": {
        "kind": "views",
        "grades": "foraminal",
        "reads": {"foraminal": "t1"},
        "model": {"name": "view_gru", "encoder": ENCODER},
    },
    "recess": {
        "kind": "views",
        "grades": "subarticular",
        "reads": {"subarticular": "axial", "beside": "beside"},
        "model": {"name": "axial_side", "encoder": ENCODER},
    },
    "levels": {
        "kind": "levels",
        "reads": {"canal": "t2", "foraminal": "t1"},
        "sequence": "levels",
        "model": {"encoder": ENCODER},
    },
    "volumes": {
        "kind": "volumes",
        "grades": "foraminal",
        "model": {"name": "one_stage_foraminal", "encoder": ENCODER},
        "training": {"loss": {"name": "one_stage_foraminal"}},
    },
}
BESIDE = {
    "t1_points": BLOCKS["heatmap"],
    "xy": {**BLOCKS["coordinates"], "finds": "subarticular"},
}


def checked(block: dict[str, Any]) -> Learner:
    """The learner of a block, checked beside one of foraminal points and one of axial slices."""
    blocks = config_with({**BESIDE, "net": block})["learners"]
    learners = learners_of({name: blocks[name] for name in (*BESIDE, "net")})
    check_learners(learners, CROPS, 3, ["taken"])
    return learners["net"]


@pytest.mark.parametrize("name", BLOCKS)
def test_the_least_block_of_each_kind_is_a_learner(name: str) -> None:
    learner = checked(BLOCKS[name])
    plan = learner.settings.plan(0)
    assert plan.epochs == learner.settings.training["epochs"] and plan.all_epochs >= plan.epochs
    modules = learner.modules("train")
    assert modules[0] == f"spinegrade.{learner.room}.{learner.kind}.kind"
    assert [m for m in modules if m.startswith("spinegrade.losses.")]
    assert not [m for m in learner.modules("predict") if "losses" in m or m.endswith(".kind")]


def test_each_kind_that_there_is_has_a_schema_and_is_tried_here() -> None:
    assert {block["kind"] for block in BLOCKS.values()} == set(room_of_kind())
    for kind, room in room_of_kind().items():
        assert load_schema(f"learners/{kind}")["properties"]["kind"]
        assert kind_module(room, kind, "settings").Settings


# What may be changed without training again, and what without predicting again.
UNUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("heatmap", {"max_distance_mm": 9}, {}),
    ("heatmap", {}, {"training": {"checkpoint_epochs": 9, "validate_every": 7}}),
    ("coordinates", {"as_published": ["entries"]}, {}),
    ("axial_levels", {"xy_from": "other"}, {}),
    ("cells", {"looks": ["plain", "jittered"]}, {}),
    ("cells", {}, {"training": {"checkpoint_epochs": 9, "validate_every": None}}),
    ("views", {"looks": ["plain", "flipped"]}, {}),
    ("levels", {"looks": ["plain", "flipped"]}, {}),
    ("volumes", {"looks": ["plain", "mirrored"]}, {"training": {"checkpoint_epochs": 9}}),
]


@pytest.mark.parametrize(("name", "predicts", "neither"), UNUSED)
def test_a_stage_is_given_the_keys_that_it_uses(
    name: str, predicts: dict[str, Any], neither: dict[str, Any]
) -> None:
    def block(stage: str, **changed: Any) -> dict[str, Any]:
        found = {"net": config_with({"net": merged(BLOCKS[name], changed)})["learners"]["net"]}
        return learners_of(found)["net"].needs(stage).block

    assert block("train") == block("train", **predicts, **neither)
    assert block("predict") == block("predict", **neither)
    assert not predicts or block("predict") != block("predict", **predicts)
    more = {"training": {"epochs": 3}}
    assert block("train") != block("train", **more) and block("predict") != block("predict", **more)


def test_what_is_read_beside_the_tables() -> None:
    cells, levels = checked(BLOCKS["cells"]), checked(BLOCKS["levels"])
    assert cells.needs("train").sets == ("t2",) and cells.needs("train").sequence is None
    assert levels.needs("train").sets == ("t2", "t1") and levels.needs("train").sequence == "levels"
    assert checked(BLOCKS["volumes"]).needs("predict").canvas == ("foraminal", 512)
    guided = merged(BLOCKS["heatmap"], {"finds": "canal", "levels_from": ["t1_points"]})
    assert checked(guided).needs("predict").points == ("t1_points",)
    assert checked(guided).needs("train").points == ()
    assert checked(BLOCKS["axial_levels"]).needs("predict").places == "xy"


# A change of the least block of a kind, the code and the key of the refusal, what it names.
REFUSED: list[tuple[str, dict[str, Any], str, str, tuple[Any, ...]]] = [
    ("heatmap", {"finds": "subarticular"}, "LEARNER_SETTINGS", "levels_from", ("t1_points",)),
    ("heatmap", {"levels_from": ["t1_points"]}, "LEARNER_SETTINGS", "levels_from", ("foraminal",)),
    ("heatmap", {"finds": "canal", "levels_from": ["t1_point"]}, "NAME_UNKNOWN", "levels_from",
     ("t1_point", "mean t1_points?")),
    ("heatmap", {"finds": "canal", "levels_from": ["net"]}, "NAME_UNKNOWN", "levels_from", ()),
    ("heatmap", {"finds": "subarticular", "levels_from": ["t1_points"],
                 "input": {**GRID, "slices": 4}}, "LEARNER_SETTINGS", "input.slices", (4,)),
    ("heatmap", {"model": {"name": "unet"}}, "NAME_UNKNOWN", "model.name", ("heatmap_unet",)),
    ("heatmap", {"model": {"name": "view_gru"}}, "NAME_UNKNOWN", "model.name", ("heatmap_unet",)),
    ("heatmap", {"model": {"widht": 8}}, "OPTIONS_WRONG", "model.widht", ("mean width?",)),
    ("heatmap", {"training": {"loss": {"name": "l1"}}}, "NAME_UNKNOWN", "training.loss.name",
     ("point_cross_entropy",)),
    ("coordinates", {"finds": ["foraminal", "canal"]}, "LEARNER_SETTINGS", "finds", ("stack",)),
    ("coordinates", {"finds": "subarticular", "as_published": ["entries"]}, "LEARNER_SETTINGS",
     "as_published", ("entries",)),
    ("coordinates", {"input": {"image_px": 600}}, "LEARNER_SETTINGS", "input.image_px", (600, 512)),
    ("coordinates", {"training": {"batch_size": 5}}, "LEARNER_SETTINGS", "training.accumulation",
     (2, 5)),
    ("axial_levels", {"xy_from": "net"}, "NAME_UNKNOWN", "xy_from", ("net", "xy")),
    ("axial_levels", {"input": {"crop_px": 600}}, "LEARNER_SETTINGS", "input.crop_px", (600,)),
    ("cells", {"model": {"encoder": {"backbone": "resnet81"}}}, "ENCODER_UNKNOWN",
     "model.encoder.backbone", ("resnet81", "resnet18")),
    ("cells", {"reads": {"canal": ["kanal"]}}, "NAME_UNKNOWN", "reads.canal", ("kanal",)),
    ("cells", {"reads": {"subarticular": ["t2"]}}, "LEARNER_SETTINGS", "reads.subarticular",
     ("t2", "crop.sets.t2.conditions")),
    ("cells", {"reads": {"canal": ["wide"]}}, "LEARNER_SETTINGS", "reads.canal", ("wide",)),
    ("cells", {"reads": {"canal": ["t2"], "subarticular": ["axial"]}}, "LEARNER_SETTINGS",
     "model.share_encoder", ((3, 64, 64), (5, 48, 48))),
    ("views", {"reads": {"canal": "t2"}}, "LEARNER_SETTINGS", "reads", ("canal", "foraminal")),
    ("views", {"as_published": ["columns"]}, "LEARNER_SETTINGS", "reads", ("canal", "foraminal")),
    ("views", {"reads": {"foraminal": "t9"}}, "NAME_UNKNOWN", "reads.foraminal", ("t9",)),
    ("views", {"as_published": ["columns"], "reads": {"foraminal": "t1", "canal": "wide"}},
     "LEARNER_SETTINGS", "reads", ("seen",)),
    ("views", {"as_published": ["columns"], "reads": {"foraminal": "t1", "canal": "edged"}},
     "LEARNER_SETTINGS", "reads", ("margin_px",)),
    ("views", {"model": {"name": "axial_side"}}, "NAME_UNKNOWN", "model.name", ("view_gru",)),
    ("views", {"model": {"axial_encoder": ENCODER}}, "LEARNER_SETTINGS", "model.axial_encoder", ()),
    ("recess", {"looks": ["plain", "mirrored"]}, "LEARNER_SETTINGS", "looks", ("flipped",)),
    ("recess", {"as_published": ["columns"]}, "LEARNER_SETTINGS", "as_published", ()),
    ("recess", {"model": {"axial_encoder": {"backbone": "resnet19"}}}, "ENCODER_UNKNOWN",
     "model.axial_encoder.backbone", ("resnet19",)),
    ("levels", {"sequence": "level"}, "NAME_UNKNOWN", "sequence", ("mean levels?",)),
    ("volumes", {"input": {"canvas_px": 256}}, "LEARNER_SETTINGS", "input.image_px", (320, 256)),
    ("volumes", {"grades": "canal", "as_published": ["matching"],
                 "model": {"name": "one_stage_canal"},
                 "training": {"loss": {"name": "one_stage_canal"}}},
     "OPTIONS_WRONG", "training.loss.matching", ()),
    ("volumes", {"augment": {"align": 0.9}}, "LEARNER_SETTINGS", "augment.homography", (0.9, 0.2)),
    ("volumes", {"augment": {"scale": [0.3, -0.2]}}, "LEARNER_SETTINGS", "augment.scale", (0.3,)),
    ("volumes", {"training": {"loss": {"part_weights": {"point": 1}}}}, "LEARNER_SETTINGS",
     "training.loss.part_weights.point", ("mean points?",)),
    ("volumes", {"training": {"epochs": [2, 3]}}, "LEARNER_SETTINGS", "training.epochs", (2, 3)),
    ("volumes", {"training": {"stages": [{"epochs": [1, 2], "learning_rate": 0.1}]}},
     "LEARNER_SETTINGS", "training.stages.0.epochs", ("2 values for 3 folds",)),
    ("views", {"training": {"patience": 4}}, "LEARNER_SETTINGS", "training.patience", (4,)),
    ("views", {"training": {"batch_size": 1}}, "LEARNER_SETTINGS", "training.accumulation", (2, 1)),
    ("views", {"training": {"schedule_epochs": 9}}, "LEARNER_SETTINGS", "training.schedule_epochs",
     (9, 25)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "code", "key", "named"), REFUSED)
def test_what_does_not_fit_is_refused(
    name: str, change: dict[str, Any], code: str, key: str, named: tuple[Any, ...]
) -> None:
    whole = {"reads"} & change.keys()
    block = {**merged(BLOCKS[name], change), **{key: change[key] for key in whole}}
    with refused(code, *named, key=f"learners.net.{key}"):
        checked(block)


def test_names_that_are_taken_are_refused() -> None:
    for name in ("taken", "prior", "canvases"):
        learners = {
            name: learners_of({name: config_with({name: BLOCKS["cells"]})["learners"][name]})[name]
        }
        with refused("LEARNER_NAME_TAKEN", key=f"learners.{name}"):
            check_learners(learners, CROPS, 3, ["taken"])


def test_a_canal_grader_has_one_column_a_level_and_three_as_published() -> None:
    canal = {"grades": "canal", "reads": {"canal": "t2"}}
    own = settings_of({**BLOCKS["views"], **canal})
    assert own.sided_conditions == own.graded == (0,)
    both = {"reads": {"canal": "t2", "foraminal": "t1"}, "as_published": ["columns"]}
    published = checked({**BLOCKS["views"], **canal, **both}).settings
    assert published.sided_conditions == (0, 1, 2) and published.graded == (0,)


def test_networks_are_told_what_they_see() -> None:
    encoder = {"backbone": "test_resnet", "pretrained": None, "drop_path": 0.0}
    single = settings_of(BLOCKS["views"]).network_options(SHAPES)
    assert single == {**encoder, "slices": 3, "image_px": 64, "conditions": (1, 2)}
    wide = {"grades": "canal", "reads": {"canal": "wide"}}
    assert settings_of({**BLOCKS["views"], **wide}).network_options(SHAPES)["image_px"] is None
    other = {
        "model": {"axial_encoder": {"backbone": "test_convnext"}},
        "input": {"axial_channels": 3},
    }
    axial = settings_of(merged(BLOCKS["recess"], other)).network_options(SHAPES)
    assert axial.pop("axial_encoder")["backbone"] == "test_convnext"
    sizes = {"sagittal_slices": 4, "axial_channels": 3, "sagittal_px": 64, "axial_px": 48}
    assert axial == {"encoder": encoder, **sizes}
    level = settings_of(BLOCKS["levels"]).network_options(SHAPES)
    assert (level["slices"], level["axial_px"], level["repeated"]) == (3, 256, False)
    assert level["encoder"] == level["axial_encoder"] == encoder


def test_a_stage_has_a_bound_and_weights_of_its_own() -> None:
    stage = {"epochs": 2, "learning_rate": 0.1, "part_weights": {"grade": 3}}
    loss = {"part_weights": {"points": 0.5}}
    training = {"epochs": [3, 4, 5], "gradient_norm": 5, "stages": [stage], "loss": loss}
    plan = settings_of(merged(BLOCKS["volumes"], {"training": training})).plan(1)
    assert plan.all_epochs == 6
    first, last = plan.stage_of(3), plan.stage_of(4)
    assert (first.gradient_norm, first.part_weights) == (5, {"points": 0.5})
    assert (last.gradient_norm, last.part_weights) == (None, {"grade": 3})


def with_recipes(*paths: Path) -> dict[str, Any]:
    config = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    for path in paths:
        update_config(config, yaml.safe_load(path.read_text()))
    return check_settings(config)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_systems_of_its_own_learners(recipe: Path) -> None:
    config = with_recipes(recipe)
    learners = learners_of(config["learners"])
    systems = systems_of(config["systems"])
    found = [n for n, one in learners.items() if one.finds] + list(config["projections"])
    check_systems(systems, config["run"], learners, found)
    (system,) = (systems[name] for name in config["run"])
    assert system.name in recipe.stem and "demo" not in config["run"]
    assert system.members or system.localisers
    for one in learners.values():
        assert one.settings.plan(0).epochs > 0


def test_recipes_of_one_system_add_up() -> None:
    folder = PROJECT / "resources" / "systems"
    names = ("two_stage_all_view", "two_stage_axial", "two_stage_sagittal", "two_stage_keypoints")
    system = systems_of(with_recipes(*(folder / f"{n}.yaml" for n in names))["systems"])[
        "two_stage"
    ]
    assert {name: len(members) for name, members in system.families.items()} == {
        "all_view": 5,
        "axial": 5,
        "sagittal": 10,
    }
    assert len(system.members) == 20 and len(system.localisers) == 9
    singles = [path for path in RECIPES if re.match(r"one_stage_(nfn|scs)", path.stem)]
    assert len(systems_of(with_recipes(*singles)["systems"])["one_stage"].members) == 7


def test_published_recipes_say_where_each_line_comes_from() -> None:
    published = [path for path in RECIPES if re.match(r"one_stage_(nfn|scs)", path.stem)]
    assert len(published) == 7
    for path in published:
        text = path.read_text()
        assert "hengck23/solution-rsna-2024-lumbar-spine" in text and "MIT" in text
        for line in text[text.index("learners:") :].splitlines():
            setting = re.match(r"^\s{4,}(- )?\w+: *[^{\s#]", line)
            given = setting and "kind: volumes" not in line
            assert not given or "# " in line, f"{path.name}: {line.strip()}"


def test_published_schedules() -> None:
    def plan(name: str, fold: int = 0) -> Any:
        path = PROJECT / "resources" / "systems" / f"one_stage_{name}.yaml"
        return learners_of(with_recipes(path)["learners"])[name].settings.plan(fold)

    bugged = "nfn_pvt_v2_b4_bugged"
    assert [plan(bugged, fold).all_epochs for fold in range(5)] == [100] * 5
    rates = [plan(bugged).stage_of(epoch).learning_rate for epoch in (39, 40)]
    assert rates == [1e-4, 1e-5]
    canal = "scs_pvt_v2_b4"
    assert [plan(canal, fold).all_epochs for fold in range(5)] == [21, 21, 28, 28, 24]
    assert [plan(canal, 2).stage_of(epoch).learning_rate for epoch in (5, 6)] == [1e-4, 5e-5]


def test_published_localisers() -> None:
    path = PROJECT / "resources" / "systems" / "two_stage_keypoints.yaml"
    found = {n: one.settings for n, one in learners_of(with_recipes(path)["learners"]).items()}
    later = found["sagittal_t2_3d"]
    assert (later.finds, later.image_px, later.depth) == (("canal",), 384, 32)
    assert (later.target_scale, later.loss["weight"]) == ((1, 1), 8)
    joint = found["sagittal_joint"]
    assert len(joint.cells) == 15 and joint.channel_of_point == (1,) * 5 + (0,) * 10
    assert (joint.target_scale, joint.loss["distance"]) == ((4, 16), "smooth_l1")
    plan = found["sagittal_t2_2d_convformer"].plan(0)
    assert (plan.learning_rate, plan.epochs, plan.schedule_epochs) == (8e-4, 30, 33)
    assert found["axial_volume"].augmentation.rotation_degrees == 10
    assert found["axial_places"].loss["weight"] == 1 / 128


def test_planning_needs_no_torch() -> None:
    kinds = [f"spinegrade.{room}.{kind}.settings" for kind, room in room_of_kind().items()]
    modules = [*kinds, "spinegrade.systems", "spinegrade.grade.volumes.validation"]
    modules += ["spinegrade.combine.compare", "spinegrade.localise.heatmap.measure"]
    told = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", told],
        env={"PYTHONPATH": str(PROJECT / "scripts")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
