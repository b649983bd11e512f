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
from spinegrade.schemas import SCHEMA_FOLDER, load_schema
from spinegrade.setting_sentences import sentence_of
from spinegrade.settings import check_settings
from spinegrade.training.kinds import room_of_kind

PROJECT = Path(__file__).resolve().parents[2]
TRAINING = ("learners", "sagittal_t1", "training")
INPUT = ("learners", "sagittal_t1", "input")
CROPS = ("crop", "sets", "canal_axial")
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
    ("type", ("learners", "sagittal_t2", "levels_from"), "sagittal_t1",
     "learners.sagittal_t2.levels_from is 'sagittal_t1'; it must be a list, each text; "
     "write it in brackets: [sagittal_t1]"),
    ("type", INPUT, None,
     "learners.sagittal_t1.input is null; it must be a block of keys"),
    ("type", ("report",), None,
     "report is empty; give its keys, indented, or leave the line out"),
    ("type", ("report",), "few", "report is 'few'; it must be a block of keys"),
    ("type", ("cohort",), "folds:2", "cohort is 'folds:2'; it must be a block of keys; on a "
     "command line it must stand in quotes, with a space after each colon: "
     "--config 'cohort={folds: 2}'"),
    ("minimum", ("runtime", "seed"), -1,
     "runtime.seed is -1; it must be a whole number from 0 to 4294967295"),
    ("minimum", (*TRAINING, "epochs"), 0,
     "learners.sagittal_t1.training.epochs is 0; it must be a whole number of at least 1 or a list "
     "of at least 1 entry, each a whole number of at least 1"),
    ("maximum", ("cohort", "folds"), 21,
     "cohort.folds is 21; it must be a whole number from 2 to 20"),
    ("exclusiveMinimum", (*TRAINING, "learning_rate"), 0,
     "learners.sagittal_t1.training.learning_rate is 0; it must be a number above 0 and at most 1 "
     "or a list of at least 1 entry, each a number above 0 and at most 1"),
    ("exclusiveMaximum", (*TRAINING, "average_decay"), 1.0,
     "learners.sagittal_t1.training.average_decay is 1.0; it must be a number of at "
     "least 0 and below 1"),
    ("multipleOf", (*INPUT, "rows"), 100,
     "learners.sagittal_t1.input.rows is 100; it must be a whole number from 16 to "
     "1024 that is a multiple of 16"),
    ("enum", ("runtime", "device"), "tpu",
     "runtime.device is 'tpu'; it must be 'auto', 'cpu' or 'cuda'; did you mean cpu?"),
    ("required", ("cohort", "kind"), ABSENT, "cohort.kind is missing and must be given"),
    ("required", CROPS, {"detector": "axial_t2", "conditions": ["subarticular"]},
     "crop.sets.canal_axial.in_plane is missing and must be given"),
    ("additionalProperties", ("cohort", "flods"), 3, "unknown key cohort.flods; did you mean "
     "folds? Allowed: fold_salt, folds, folds_file, kind, name, root"),
    ("additionalProperties", ("cohort", "folds:2"), None,
     "unknown key cohort.folds:2; a colon needs a space after it: folds: 2"),
    ("minProperties", ("learners", "small", "reads"), {},
     "learners.small.reads is empty; it must name at least 1 key"),
    ("minItems", (*CROPS, "conditions"), [], "crop.sets.canal_axial.conditions is empty; it must "
     "be a list of at least 1 entry, each 'canal', 'foraminal' or "
     "'subarticular'"),
    ("maxItems", (*CROPS, "in_plane", "size"), [1, 2, 3],
     "crop.sets.canal_axial.in_plane.size is [1, 2, 3]; it must be a number above 0 or a list of 2 "
     "entries, each a number above 0"),
    ("items", (*CROPS, "in_plane", "size"), [1, -2],
     "crop.sets.canal_axial.in_plane.size.1 is -2; it must be a number above 0"),
    ("uniqueItems", (*CROPS, "conditions"), ["subarticular"] * 2,
     "crop.sets.canal_axial.conditions names 'subarticular' twice; name it once"),
    ("minLength", ("models", "from"), "",
     "models.from is ''; it must be text that is not empty or null"),
    ("minLength", ("runtime", "container"), "",
     "runtime.container is ''; it must be text that is not empty"),
    ("pattern", ("cohort", "name"), "my cohort/1", "cohort.name is 'my cohort/1'; it must be 1 to "
     "64 of a to z, A to Z, digits, - and _, a letter or digit first, as it names a folder, such "
     "as my_cohort_1"),
    ("pattern", ("combine", "outside", "mate"), {"path": "mate.xlsx"},
     "combine.outside.mate.path is 'mate.xlsx'; it must be a file whose name "
     "ends in .csv or .parquet"),
    ("propertyNames", ("combine", "outside", "My mate"), {"path": "mate.csv"}, "combine.outside "
     "has a key 'My mate'; a name there must be 1 to 64 of a to z, digits and _, a letter first"),
    ("oneOf", ("combine", "members"), "none",
     "combine.members is 'none'; it must be 'all' or a list of at least 1 entry, each text"),
    ("const", ("combine", "members"), 3,
     "combine.members is 3; it must be 'all' or a list of at least 1 entry, each text"),
    # Numbers that no bound refuses.
    ("finite", (*TRAINING, "learning_rate"), float("nan"),
     "learners.sagittal_t1.training.learning_rate is nan; it must be a finite number"),
    ("finite", (*TRAINING, "loss"), {"name": "heatmap_terms", "sigma_mm": float("inf")},
     "learners.sagittal_t1.training.loss.sigma_mm is inf; it must be a finite number"),
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
    kinds = [f"learners/{kind}" for kind in room_of_kind()]
    names = [*(file.stem for file in SCHEMA_FOLDER.glob("*.yaml")), *kinds]
    used = [found for name in names for found in keywords(load_schema(name))]
    # A format is only checked where a checker of formats is given.
    refuses = set(Draft202012Validator.VALIDATORS) - {"properties", "format"}
    tried = {keyword for keyword, *_ in REFUSED} | {"anyOf"}
    assert len(names) >= 18 and {key for key, _ in used} & refuses <= tried
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
        (as_on_the_command_line, "{leave_one_out: False}", ("combine", "leave_one_out"), False),
        (as_on_the_command_line, "{prior_member: yes}", ("combine", "prior_member"), True),
        (as_on_the_command_line, "{members: [small, 7]}", ("combine", "members"), ["small", "7"]),
        (yaml.safe_load, "{prune: 2e-3}", ("combine", "prune"), 0.002),
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
    config["learners"]["small"]["training"]["learning_rate"] = "2e-3"
    sets = config["crop"]["sets"]["canal_axial"]
    sets["in_plane"] |= {"size": ["40", "4e1"], "output_px": "64"}
    sets["slices"]["spacing_mm"] = "null"
    # A choice among numbers, and numbers where one number or a list may stand.
    config["learners"]["x"] = as_on_the_command_line(
        "{kind: coordinates, finds: canal, sees: slice, augment: {blur_px: 7},"
        " model: {encoder: {backbone: b, pretrained: 'null'}},"
        " training: {epochs: [3, 4], learning_rate: 1e-4}}"
    )
    filled = check_settings(config)
    assert filled["learners"]["small"]["training"]["learning_rate"] == 0.002
    found = filled["crop"]["sets"]["canal_axial"]
    assert found["in_plane"]["size"] == [40, 40.0] and found["in_plane"]["output_px"] == 64
    assert found["slices"]["spacing_mm"] is None
    given = filled["learners"]["x"]
    assert given["augment"]["blur_px"] == 7 and given["model"]["encoder"]["pretrained"] is None
    assert given["training"]["epochs"] == [3, 4] and given["training"]["learning_rate"] == 0.0001


@pytest.mark.parametrize("text", ["abc", "1,5", "1 2", "nan", "0x1f", "1e", ""])
def test_text_that_is_no_number_stays_refused(config: dict[str, Any], text: str) -> None:
    config["combine"]["prune"] = text
    with refused("SETTINGS", key="combine.prune"):
        check_settings(config)
