"""Names in the configuration that become folders are plain, and places to read from exist."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refused
from spinegrade.errors import SpinegradeError
from spinegrade.settings import check_settings

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())


HOSTILE_KEYS = ["../x", "..", ".", "", "/etc/x", "a/b", "a\\b", "a\0b", "a b", "\u0430bc",
                "{shard}", "$(x)", "-x", ".hidden", "a;b", "*"]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        *HOSTILE_KEYS,
        "a\n",
        "a" * 250,
    ],
)
def test_a_hostile_name_in_the_configuration_is_refused(config: dict[str, Any], name: str) -> None:
    for block in ("cohort.name", "learners", "crop.sets", "systems"):
        changed = copy.deepcopy(config)
        if block == "cohort.name":
            changed["cohort"]["name"] = name
        else:
            named = {
                "learners": changed["learners"],
                "crop.sets": changed["crop"]["sets"],
                "systems": changed["systems"],
            }[block]
            named[name] = copy.deepcopy(next(iter(named.values())))
        with pytest.raises(SpinegradeError) as caught:
            check_settings(changed)
        assert block.split(".")[0] in str(caught.value)


@pytest.mark.parametrize("value", [2024, None, True, ["a"], {"a": 1}])
def test_a_cohort_name_that_is_no_text_is_refused(config: dict[str, Any], value: object) -> None:
    config["cohort"]["name"] = value
    with refused("SETTINGS", key="cohort.name"):
        check_settings(config)


@pytest.mark.parametrize("key", ["root", "from"])
def test_a_place_to_read_from_must_be_a_folder(
    config: dict[str, Any], tmp_path: Path, key: str
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for value in (str(file), str(tmp_path / "gone"), "a\0b"):
        changed = copy.deepcopy(config)
        if key == "root":
            changed["cohort"] |= {"kind": "kaggle_rsna2024", "root": value}
        else:
            changed["models"]["from"] = value
        path = "cohort.root" if key == "root" else "models.from"
        with refused("SETTINGS", repr(value), key=path):
            check_settings(changed)


def test_models_from_the_run_itself_are_refused(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would overwrite the weights of the ensemble that it reads.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / config["cohort"]["name"]).mkdir(parents=True)
    config["models"]["from"] = f"results/{config['cohort']['name']}"
    with refused("SETTINGS", key="models.from"):
        check_settings(config)
