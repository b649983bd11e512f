"""What a wrong configuration is answered with: sentences, and no phrase of the schema language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from refusals import refused
from spinegrade.errors import SpinegradeError
from spinegrade.setting_sentences import sentence_of
from spinegrade.settings import SCHEMA_FOLDER, check_settings

PROJECT = Path(__file__).resolve().parents[2]
TRAINING = ("keypoints", "detectors", "sagittal_t1", "training")
GRID = ("keypoints", "detectors", "sagittal_t1", "grid")
CROPS = ("rois", "sets", "canal_axial")
ABSENT = object()


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())


def put(config: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for key in path[:-1]:
        config = config.setdefault(key, {})
    if value is ABSENT:
        del config[path[-1]]
    else:
        config[path[-1]] = value


# By the keyword of the schema that refuses: where, what stands there, the sentence.
REFUSED: list[tuple[str, tuple[str, ...], object, str]] = [
    ("type", ("runtime", "shards"), "two",
     "runtime.shards is 'two'; it must be a whole number from 1 to 1000"),
    ("type", ("runtime", "shards"), 2.5,
     "runtime.shards is 2.5; it must be a whole number from 1 to 1000"),
    ("type", ("cohort", "name"), 2024, "cohort.name is 2024; it must be 1 to 64 of a to z, A to Z, "
     "digits, - and _, a letter or digit first, as it names a folder; write it in quotes: '2024'"),
    ("type", ("cohort", "root"), ["a"], "cohort.root is ['a']; it must be text or null"),
    ("type", ("keypoints", "detectors", "sagittal_t2", "levels_from"), "sagittal_t1",
     "keypoints.detectors.sagittal_t2.levels_from is 'sagittal_t1'; it must be a list, each text; "
     "write it in brackets: [sagittal_t1]"),
    ("type", GRID, None,
     "keypoints.detectors.sagittal_t1.grid is null; it must be a block of keys"),
    ("type", ("report",), None,
     "report is empty; give its keys, indented, or leave the line out"),
    ("type", ("report",), "few", "report is 'few'; it must be a block of keys"),
    ("type", ("cohort",), "folds:2", "cohort is 'folds:2'; it must be a block of keys; on a "
     "command line it must stand in quotes, with a space after each colon: "
     "--config 'cohort={folds: 2}'"),
    ("minimum", ("runtime", "seed"), -1,
     "runtime.seed is -1; it must be a whole number from 0 to 4294967295"),
    ("minimum", (*TRAINING, "epochs"), 0,
     "keypoints.detectors.sagittal_t1.training.epochs is 0; it must be a whole number of at least "
     "1"),
    ("maximum", ("cohort", "folds"), 21,
     "cohort.folds is 21; it must be a whole number from 2 to 20"),
    ("exclusiveMinimum", (*TRAINING, "learning_rate"), 0,
     "keypoints.detectors.sagittal_t1.training.learning_rate is 0; it must be a number above 0 and "
     "at most 1"),
    ("exclusiveMaximum", (*TRAINING, "average_decay"), 1.0,
     "keypoints.detectors.sagittal_t1.training.average_decay is 1.0; it must be a number of at "
     "least 0 and below 1"),
    ("multipleOf", (*GRID, "rows"), 100,
     "keypoints.detectors.sagittal_t1.grid.rows is 100; it must be a whole number from 16 to "
     "1024 that is a multiple of 16"),
    ("enum", ("runtime", "device"), "tpu",
     "runtime.device is 'tpu'; it must be 'auto', 'cpu' or 'cuda'"),
    ("required", ("cohort", "kind"), ABSENT, "cohort.kind is missing and must be given"),
    ("required", CROPS, {"detector": "axial_t2", "conditions": ["subarticular_stenosis"]},
     "rois.sets.canal_axial.in_plane is missing and must be given"),
    ("additionalProperties", ("cohort", "flods"), 3, "unknown key cohort.flods; did you mean "
     "folds? Allowed: fold_salt, folds, folds_file, kind, name, root"),
    ("additionalProperties", ("cohort", "folds:2"), None,
     "unknown key cohort.folds:2; a colon needs a space after it: folds: 2"),
    ("minProperties", ("classifiers",), {}, "classifiers is empty; it must name at least 1 key"),
    ("minItems", (*CROPS, "conditions"), [], "rois.sets.canal_axial.conditions is empty; it must "
     "be a list of at least 1 entry, each 'spinal_canal_stenosis', 'neural_foraminal_narrowing' or "
     "'subarticular_stenosis'"),
    ("maxItems", (*CROPS, "in_plane", "size"), [1, 2, 3],
     "rois.sets.canal_axial.in_plane.size is [1, 2, 3]; it must be a number above 0 or a list of 2 "
     "entries, each a number above 0"),
    ("items", (*CROPS, "in_plane", "size"), [1, -2],
     "rois.sets.canal_axial.in_plane.size.1 is -2; it must be a number above 0"),
    ("uniqueItems", (*CROPS, "conditions"), ["subarticular_stenosis"] * 2,
     "rois.sets.canal_axial.conditions names 'subarticular_stenosis' twice; name it once"),
    ("minLength", ("models", "from"), "",
     "models.from is ''; it must be text that is not empty or null"),
    ("minLength", ("runtime", "container"), "",
     "runtime.container is ''; it must be text that is not empty"),
    ("pattern", ("cohort", "name"), "my cohort/1", "cohort.name is 'my cohort/1'; it must be 1 to "
     "64 of a to z, A to Z, digits, - and _, a letter or digit first, as it names a folder, such "
     "as my_cohort_1"),
    ("pattern", ("ensemble", "outside", "mate"), {"path": "mate.xlsx"},
     "ensemble.outside.mate.path is 'mate.xlsx'; it must be a file whose name "
     "ends in .csv or .parquet"),
    ("propertyNames", ("ensemble", "outside", "My mate"), {"path": "mate.csv"}, "ensemble.outside "
     "has a key 'My mate'; a name there must be 1 to 64 of a to z, digits and _, a letter first"),
    ("oneOf", ("ensemble", "members"), "none",
     "ensemble.members is 'none'; it must be 'all' or a list of at least 1 entry, each text"),
    ("const", ("ensemble", "members"), 3,
     "ensemble.members is 3; it must be 'all' or a list of at least 1 entry, each text"),
    # Numbers that no bound refuses.
    ("finite", (*TRAINING, "learning_rate"), float("nan"),
     "keypoints.detectors.sagittal_t1.training.learning_rate is nan; it must be a finite number"),
    ("finite", (*TRAINING, "sigma_mm"), float("inf"),
     "keypoints.detectors.sagittal_t1.training.sigma_mm is inf; it must be a finite number"),
]  # fmt: skip


@pytest.mark.parametrize(("keyword", "path", "value", "sentence"), REFUSED)
def test_what_is_wrong_is_said_in_a_sentence(
    config: dict[str, Any], keyword: str, path: tuple[str, ...], value: object, sentence: str
) -> None:
    put(config, path, value)
    with pytest.raises(SpinegradeError) as caught:
        check_settings(config)
    said = str(caught.value).splitlines()
    assert said == ["the configuration cannot be used:", f"  - {sentence}"]


def test_one_of_several_things_that_a_value_may_be_is_told() -> None:
    choices = [{"enum": ["all", "none"]}, {"type": "array", "items": {"type": "string"}}]
    (error,) = Draft202012Validator({"anyOf": choices}).iter_errors(3)
    assert sentence_of("x", error) == "x is 3; it must be 'all' or 'none' or a list, each text"


def keywords(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every keyword that a schema uses, with the piece that it stands in."""
    for key, part in schema.items():
        yield key, schema
        if key == "properties":
            for piece in part.values():
                yield from keywords(piece)
        elif isinstance(part, dict) and key != "default":
            yield from keywords(part)
        elif key in ("oneOf", "anyOf"):
            for piece in part:
                yield from keywords(piece)


def test_every_keyword_of_the_schemas_has_its_sentence_above() -> None:
    files = list(SCHEMA_FOLDER.glob("*.yaml"))
    used = [found for file in files for found in keywords(yaml.safe_load(file.read_text()))]
    # A format is only checked where a checker of formats is given.
    refuses = set(Draft202012Validator.VALIDATORS) - {"properties", "format"}
    tried = {keyword for keyword, *_ in REFUSED} | {"anyOf"}
    assert len(files) >= 12 and {key for key, _ in used} & refuses <= tried
    # What a regular expression asks for is told in words.
    assert [piece for key, piece in used if key == "pattern" and "description" not in piece] == []


def as_on_the_command_line(text: str) -> Any:
    """What Snakemake makes of the value of ``--config``: every value is text."""
    return yaml.load(text, Loader=yaml.loader.BaseLoader)


@pytest.mark.parametrize(
    ("load", "text", "path", "meant"),
    [
        (as_on_the_command_line, "{folds: 2}", ("cohort", "folds"), 2),
        (as_on_the_command_line, "{folds: 2e1}", ("cohort", "folds"), 20),
        (as_on_the_command_line, "{name: 2024}", ("cohort", "name"), "2024"),
        (as_on_the_command_line, "{root: null}", ("cohort", "root"), None),
        (
            as_on_the_command_line,
            "{checkpoint_minutes: .5}",
            ("runtime", "checkpoint_minutes"),
            0.5,
        ),
        (as_on_the_command_line, "{leave_one_out: False}", ("ensemble", "leave_one_out"), False),
        (as_on_the_command_line, "{prior_member: yes}", ("ensemble", "prior_member"), True),
        (as_on_the_command_line, "{members: [small, 7]}", ("ensemble", "members"), ["small", "7"]),
        (yaml.safe_load, "{prune: 2e-3}", ("ensemble", "prune"), 0.002),
        (yaml.safe_load, "{shards: 2.0}", ("runtime", "shards"), 2),
    ],
)
def test_text_is_taken_for_what_the_schema_asks_for(
    config: dict[str, Any], load: Callable[[str], Any], text: str, path: tuple[str, str], meant: Any
) -> None:
    config[path[0]] |= load(text)
    got = check_settings(config)[path[0]][path[1]]
    assert got == meant and type(got) is type(meant)


def test_text_deep_in_lists_names_and_choices_is_taken_too(config: dict[str, Any]) -> None:
    config["classifiers"]["small"]["learning_rate"] = "2e-3"
    sets = config["rois"]["sets"]["canal_axial"]
    sets["in_plane"] |= {"size": ["40", "4e1"], "output_px": "64"}
    sets["slices"]["spacing_mm"] = "null"
    # A choice among numbers, and numbers where one number or a list may stand.
    config["keypoints"]["regressors"] = as_on_the_command_line(
        "{x: {kind: sagittal_2d, target: 'null', backbone: b, augmentation: {blur_px: 7}}}"
    )
    training = {"epochs": ["3", "4"], "learning_rate": "1e-4"}
    config["one_stage"] = {
        "networks": {"n": {"target": "canal", "encoder": {"backbone": "b"}, "training": training}}
    }
    filled = check_settings(config)
    assert filled["classifiers"]["small"]["learning_rate"] == 0.002
    assert sets["in_plane"]["size"] == [40, 40.0] and sets["in_plane"]["output_px"] == 64
    assert sets["slices"]["spacing_mm"] is None
    assert filled["keypoints"]["regressors"]["x"]["augmentation"]["blur_px"] == 7
    assert filled["keypoints"]["regressors"]["x"]["target"] is None
    assert training["epochs"] == [3, 4] and training["learning_rate"] == 0.0001


@pytest.mark.parametrize("text", ["abc", "1,5", "1 2", "nan", "0x1f", "1e", ""])
def test_text_that_is_no_number_stays_refused(config: dict[str, Any], text: str) -> None:
    config["ensemble"]["prune"] = text
    with refused("SETTINGS", key="ensemble.prune"):
        check_settings(config)
