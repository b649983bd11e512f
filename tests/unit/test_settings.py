"""The configuration is refused before anything runs, by key, value and what is allowed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from spinegrade.errors import SpinegradeError
from spinegrade.settings import check_settings

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
        ("cohort", "folds", 1, ["cohort.folds", "1", "minimum of 2"]),
        ("cohort", "kind", "mri", ["cohort.kind", "'mri'", "'phantom'", "'kaggle_rsna2024'"]),
        ("runtime", "shards", "two", ["runtime.shards", "'two'", "integer"]),
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


def test_a_misspelt_block_is_named(config: dict[str, Any]) -> None:
    config["cohrt"] = {}
    with pytest.raises(SpinegradeError, match=r"unknown block .cohrt.; did you mean cohort"):
        check_settings(config)


def test_all_problems_are_listed_at_once(config: dict[str, Any]) -> None:
    config["cohort"]["folds"] = 0
    config["runtime"]["seed"] = -1
    with pytest.raises(SpinegradeError) as caught:
        check_settings(config)
    assert "cohort.folds" in str(caught.value) and "runtime.seed" in str(caught.value)


def test_a_real_cohort_needs_a_folder(config: dict[str, Any], tmp_path: Path) -> None:
    config["cohort"].update(kind="kaggle_rsna2024", root=None)
    with pytest.raises(SpinegradeError, match=r"cohort\.root is null"):
        check_settings(copy.deepcopy(config))
    config["cohort"]["root"] = str(tmp_path / "absent")
    with pytest.raises(SpinegradeError, match="there is no such folder"):
        check_settings(config)


def test_crops_may_have_two_unlike_sides(config: dict[str, Any]) -> None:
    block = config["rois"]["sets"]["canal_axial"]
    block["in_plane"] = {"unit": "frame", "size": [72, 128.5], "output_px": [64, 128]}
    block["slices"] = {"sampled": {"part": "centre"}}
    filled = check_settings(copy.deepcopy(config))["rois"]["sets"]["canal_axial"]
    assert filled["in_plane"]["frame_px"] == 512 and filled["slices"]["sampled"]["of"] == 10
    assert filled["keep_inside"] is False
    block["in_plane"]["size"] = [72, 128, 3]
    block["in_plane"]["output_px"] = [64, 4]
    block["slices"]["sampled"]["of"] = 9
    with pytest.raises(SpinegradeError) as caught:
        check_settings(config)
    for words in ("in_plane.size is [72, 128, 3]", "in_plane.output_px.1 is 4", "sampled.of is 9"):
        assert f"rois.sets.canal_axial.{'slices.' * ('of' in words)}{words}" in str(caught.value)
