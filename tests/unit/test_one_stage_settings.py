"""The one-stage block of the configuration: defaults, recipes, and what is refused by name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config
from spinegrade.errors import SpinegradeError
from spinegrade.grade.volumes.augmentation import augmentation_of
from spinegrade.grade.volumes.settings import check_networks, plan_of, settings_from_config
from spinegrade.settings import check_settings
from spinegrade.training.optimise import learning_rate

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = sorted((PROJECT / "resources" / "systems").glob("one_stage_*.yaml"))
MINIMAL = {"target": "foraminal", "encoder": {"backbone": "test_resnet"}}


def config_with(networks: dict[str, Any], **more: Any) -> dict[str, Any]:
    below = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    update_config(below, {"one_stage": {"networks": networks}, **more})
    return check_settings(below)


def networks_of(networks: dict[str, Any]) -> dict[str, Any]:
    return config_with(networks)["one_stage"]["networks"]


def test_defaults_are_the_published_ones() -> None:
    settings = settings_from_config("net", networks_of({"net": MINIMAL})["net"])
    assert (settings.canvas_px, settings.image_px, settings.flip) == (512, 320, "fixed")
    assert (settings.select, settings.tta, settings.ensemble) == ("last", "none", True)
    training = settings.training
    assert (training.weight_decay, training.average_decay) == (0.01, 0.99)
    assert training.gradient_norm is None and training.precision_cuda == "float16"
    assert settings.network_options == {
        "encoder": {
            "backbone": "test_resnet",
            "pretrained": None,
            "drop_path": 0.0,
            "frozen_to_stride": None,
            "frozen_statistics": False,
        },
        "widths": (384, 192, 96),
        "points": 10,
    }
    assert settings.loss_options == {
        "grade_weights": (1, 2, 4),
        "grade_mean": "weights",
        "heatmap": "jensen_shannon",
        "match_px": 3.0,
        "matching": "fixed",
    }


def test_a_canal_network_has_the_options_of_its_own_target() -> None:
    block = {**MINIMAL, "target": "canal", "decoder": {"widths": [8, 8, 4], "head_channels": 6}}
    settings = settings_from_config("net", networks_of({"net": block})["net"])
    assert settings.network_options["z_channels"] == 6
    assert settings.network_options["points"] == 5
    assert settings.loss_options == {
        "grade_weights": (1, 2, 4),
        "grade_mean": "weights",
        "heatmap": "jensen_shannon",
        "pixel_weight": 0.5,
        "neighbour_weight": 0.125,
    }


def test_a_finish_has_a_bound_and_weights_of_its_own() -> None:
    finish = {"epochs": 2, "learning_rate": 0.1}
    loss = {"part_weights": {"points": 0.5}}
    training = {"epochs": 3, "gradient_norm": 5, "finish": finish, "loss": loss}
    block = networks_of({"net": {**MINIMAL, "training": training}})["net"]
    plan = plan_of(settings_from_config("net", block), 0)
    bounds = [plan.stage_of(epoch).gradient_norm for epoch in range(5)]
    assert bounds == [5, 5, 5, None, None]
    ones = {"heatmap": 1.0, "slices": 1.0, "grade": 1.0}
    assert plan.part_weights == ones | {"points": 0.5}
    assert plan.stage_of(4).part_weights is None, "those of the plan"
    training["finish"] = {**finish, "gradient_norm": 7, "part_weights": {"grade": 3}}
    block = networks_of({"net": {**MINIMAL, "training": training}})["net"]
    plan = plan_of(settings_from_config("net", block), 0)
    assert plan.stage_of(3).gradient_norm == 7
    assert plan.stage_of(2).part_weights == ones | {"points": 0.5}
    assert plan.stage_of(3).part_weights == ones | {"points": 1.0, "grade": 3}


def test_rates_and_epochs_by_fold() -> None:
    training = {
        "learning_rate": [0.1, 0.2, 0.3],
        "epochs": [2, 3, 4],
        "finish": {"epochs": 5, "learning_rate": 0.01},
    }
    networks = networks_of({"net": {**MINIMAL, "training": training}})
    check_networks(networks, folds=3)
    plans = [plan_of(settings_from_config("net", networks["net"]), fold) for fold in range(3)]
    assert [plan.all_epochs for plan in plans] == [7, 8, 9]
    # Fold 1: three epochs at 0.2, five at 0.01.
    rates = [learning_rate(plans[1], 4, epoch, 0) for epoch in range(8)]
    assert rates == [0.2, 0.2, 0.2, 0.01, 0.01, 0.01, 0.01, 0.01]
    with pytest.raises(SpinegradeError, match=r"net\.training\.epochs .* 3 values for 5 folds"):
        check_networks(networks, folds=5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": {"backbone": "pvt_v2_b9"}}, ["net.encoder.backbone", "pvt_v2_b4"]),
        ({"canvas_px": 256, "image_px": 320}, ["net.image_px is 320", "canvas_px (256)"]),
        ({"target": "canal", "matching": "published"}, ["net.matching", "only the foraminal"]),
        ({"augmentation": {"align": 0.9, "homography": 0.2}}, ["net.augmentation", "at most 1"]),
        ({"augmentation": {"scale": [0.3, -0.2]}}, ["net.augmentation.scale", "lower"]),
        (
            {"training": {"finish": {"epochs": [1, 2], "learning_rate": 0.1}}},
            ["net.training.finish.epochs", "2 values for 3 folds"],
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], words: list[str]) -> None:
    networks = networks_of({"net": {**MINIMAL, **change}})
    with pytest.raises(SpinegradeError) as caught:
        check_networks(networks, folds=3)
    for word in ("one_stage.networks", *words):
        assert word in str(caught.value)


def test_a_network_may_not_be_called_as_a_member_of_the_ensemble_is() -> None:
    networks = networks_of({"small": MINIMAL})
    check_networks(networks, folds=3, taken=["large"])
    with pytest.raises(SpinegradeError, match=r"one_stage\.networks\.small: the name"):
        check_networks(networks, folds=3, taken=["small"])
    with pytest.raises(SpinegradeError, match=r"one_stage\.networks\.prior: the name"):
        check_networks(networks_of({"prior": MINIMAL}), folds=3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flip": "buged"}, ["net.flip", "'bugged'"]),
        ({"augmentation": {"cutouts": 1}}, ["net.augmentation.cutouts", "did you mean cutout"]),
        ({"image_px": 100}, ["net.image_px", "100", "multiple of 32"]),
        ({"training": {"learning_rate": [0.1, 0]}}, ["net.training.learning_rate"]),
        ({"target": "subarticular"}, ["net.target", "'foraminal' or 'canal'"]),
    ],
)
def test_the_schema_names_the_key(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpinegradeError) as caught:
        networks_of({"net": {**MINIMAL, **change}})
    for word in ("one_stage.networks", *words):
        assert word in str(caught.value)


def test_every_augmentation_key_of_the_schema_is_one_and_none_is_forgotten() -> None:
    schema = (PROJECT / "resources" / "schemas" / "config" / "one_stage.yaml").read_text()
    networks = yaml.safe_load(schema)["properties"]["networks"]["additionalProperties"]
    known = set(networks["properties"]["augmentation"]["properties"])
    with pytest.raises(SpinegradeError) as caught:
        augmentation_of("foraminal", 320, given={"no such key": 1})
    allowed = str(caught.value).split("allowed: ")[1].split(", ")
    assert known == set(allowed)


@pytest.mark.parametrize("module", ["settings", "validation", "comparison", "prepared"])
def test_what_needs_no_torch_imports_none(module: str) -> None:
    # The workflow makes the checks each time it starts; measuring runs where no torch is installed.
    told = f"import sys, spinegrade.grade.volumes.{module}; print('torch' in sys.modules)"
    paths = {"PYTHONPATH": str(PROJECT / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", told], env=paths, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_configuration(recipe: Path) -> None:
    above = yaml.safe_load(recipe.read_text())
    # The folder of the data is the user's own.
    above.get("cohort", {}).pop("root", None)
    if above.get("cohort", {}).get("kind") == "kaggle_rsna2024":
        above["cohort"]["kind"] = "phantom"
    below = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())
    update_config(below, above)
    config = check_settings(below)
    networks = config["one_stage"]["networks"]
    check_networks(networks, config["cohort"]["folds"], config["classifiers"])
    for name, block in networks.items():
        settings = settings_from_config(name, block)
        augmentation_of(settings.target, settings.image_px, settings.flip, settings.augmentation)


def test_published_recipes_say_where_each_line_comes_from() -> None:
    published = [path for path in RECIPES if not path.stem.startswith("one_stage_small")]
    assert len(published) == 7
    for path in published:
        text = path.read_text()
        assert "hengck23/solution-rsna-2024-lumbar-spine" in text and "MIT" in text
        for line in text.splitlines():
            setting = re.match(r"^\s{6,}\w+: *[^{\s#]", line)
            assert not setting or "# " in line, f"{path.name}: {line.strip()}"


def test_published_schedules() -> None:
    def training(stem: str) -> Any:
        path = PROJECT / "resources" / "systems" / f"one_stage_{stem}.yaml"
        networks = config_with(yaml.safe_load(path.read_text())["one_stage"]["networks"])
        ((name, block),) = networks["one_stage"]["networks"].items()
        return settings_from_config(name, block)

    bugged = training("nfn_pvt_v2_b4_bugged")
    assert bugged.flip == "bugged"
    assert [plan_of(bugged, fold).all_epochs for fold in range(5)] == [100] * 5
    rates = [plan_of(bugged, 0).stage_of(epoch).learning_rate for epoch in (39, 40)]
    assert rates == [1e-4, 1e-5]
    canal = training("scs_pvt_v2_b4")
    assert [plan_of(canal, fold).all_epochs for fold in range(5)] == [21, 21, 28, 28, 24]
    rates = [plan_of(canal, 2).stage_of(epoch).learning_rate for epoch in (5, 6)]
    assert rates == [1e-4, 5e-5]
    assert training("nfn_tf_efficientnet_b5").image_px == 384
