"""The configuration is refused before anything runs, by key, value and what is allowed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refused
from spinegrade.errors import SpinegradeError
from spinegrade.schemas import SCHEMA_FOLDER, load_schema
from spinegrade.settings import check_settings
from spinegrade.training.kinds import room_of_kind

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())


def test_the_committed_configuration_is_valid_and_names_every_key(config: dict[str, Any]) -> None:
    filled = check_settings(copy.deepcopy(config))
    assert filled["cohort"]["name"] == "phantom_lumbar"
    assert set(filled) == set(config)


@pytest.mark.parametrize(
    ("block", "key", "value", "words"),
    [
        ("cohort", "fold", 3, ["cohort.fold", "did you mean folds?"]),
        ("cohort", "folds", 1, ["cohort.folds", "1", "a whole number from 2 to 20"]),
        ("cohort", "kind", "mri", ["cohort.kind", "'mri'", "'phantom'", "'kaggle_rsna2024'"]),
        ("runtime", "shards", "two", ["runtime.shards", "'two'", "whole number"]),
        ("runtime", "device", "tpu", ["runtime.device", "'tpu'", "'cuda'"]),
    ],
)
def test_a_bad_key_or_value_is_named(
    config: dict[str, Any], block: str, key: str, value: object, words: list[str]
) -> None:
    config[block][key] = value
    with pytest.raises(SpinegradeError) as caught:
        check_settings(config)
    for word in words:
        assert word in str(caught.value)


def test_a_tilde_is_the_users_home_in_every_path(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("data", "results/finished"):
        (tmp_path / folder).mkdir(parents=True)
    config["cohort"] |= {"kind": "kaggle_rsna2024", "root": "~/data", "folds_file": "~/folds.csv"}
    config["models"]["from"] = "~/results/finished"
    config["combine"]["outside"] = {"theirs": {"path": "~/theirs.csv"}}
    config["learners"]["small"]["model"]["encoder"]["pretrained"] = "~/weights.safetensors"
    config["runtime"]["container"] = "docker://~/image"
    filled = check_settings(config)
    assert filled["cohort"]["root"] == f"{tmp_path}/data"
    assert filled["cohort"]["folds_file"] == f"{tmp_path}/folds.csv"
    assert filled["models"]["from"] == f"{tmp_path}/results/finished"
    assert filled["combine"]["outside"]["theirs"]["path"] == f"{tmp_path}/theirs.csv"
    assert (
        filled["learners"]["small"]["model"]["encoder"]["pretrained"]
        == f"{tmp_path}/weights.safetensors"
    )
    # Only where it leads the path.
    assert filled["runtime"]["container"] == "docker://~/image"


def test_every_key_that_names_a_file_is_marked_as_a_path() -> None:
    marked, named = set(), set()

    def walk(where: str, schema: object) -> None:
        if not isinstance(schema, dict):
            return
        for key, part in schema.get("properties", {}).items():
            place = f"{where}.{key}"
            if isinstance(part, dict) and part.get("format") == "path":
                marked.add(place)
            if key in ("root", "folds_file", "from", "path", "pretrained", "container"):
                named.add(place)
            walk(place, part)
        walk(f"{where}.*", schema.get("additionalProperties"))

    kinds = [f"learners/{kind}" for kind in room_of_kind()]
    for name in [*(path.stem for path in SCHEMA_FOLDER.glob("*.yaml")), *kinds]:
        walk(name, load_schema(name))
    assert marked == named and len(marked) >= 8


def test_a_misspelt_block_is_named(config: dict[str, Any]) -> None:
    config["cohrt"] = {}
    with refused("SETTINGS", "cohort", key="cohrt"):
        check_settings(config)


def test_all_problems_are_listed_at_once(config: dict[str, Any]) -> None:
    config["cohort"]["folds"] = 0
    config["runtime"]["seed"] = -1
    with pytest.raises(SpinegradeError) as caught:
        check_settings(config)
    assert "cohort.folds" in str(caught.value) and "runtime.seed" in str(caught.value)


def test_a_real_cohort_needs_a_folder(config: dict[str, Any], tmp_path: Path) -> None:
    config["cohort"].update(kind="kaggle_rsna2024", root=None)
    with refused("SETTINGS", key="cohort.root"):
        check_settings(copy.deepcopy(config))
    config["cohort"]["root"] = str(tmp_path / "absent")
    with refused("SETTINGS", tmp_path / "absent", key="cohort.root"):
        check_settings(config)


def test_crops_may_have_two_unlike_sides(config: dict[str, Any]) -> None:
    block = config["crop"]["sets"]["canal_axial"]
    block["in_plane"] = {"unit": "frame", "size": [72, 128.5], "output_px": [64, 128]}
    block["slices"] = {"sampled": {"part": "centre"}}
    filled = check_settings(copy.deepcopy(config))["crop"]["sets"]["canal_axial"]
    assert filled["in_plane"]["frame_px"] == 512 and filled["slices"]["sampled"]["of"] == 10
    assert filled["keep_inside"] is False
    block["in_plane"]["size"] = [72, 128, 3]
    block["in_plane"]["output_px"] = [64, 4]
    block["slices"]["sampled"]["of"] = 9
    with pytest.raises(SpinegradeError) as caught:
        check_settings(config)
    for words in ("in_plane.size is [72, 128, 3]", "in_plane.output_px.1 is 4", "sampled.of is 9"):
        assert f"crop.sets.canal_axial.{'slices.' * ('of' in words)}{words}" in str(caught.value)
