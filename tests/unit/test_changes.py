"""Why a job is stale, in words: the key with both values, the module, the study."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from spinegrade.cohort.delivered import Delivered
from spinegrade.runtime import code_parts
from spinegrade.runtime.changes import ABSENT, code_words, differences, setting_words
from spinegrade.runtime.data_states import data_words, keep_state, read_state
from spinegrade.runtime.freshness import Freshness, Stale
from spinegrade.runtime.made_note import Note
from spinegrade.runtime.reasons import FOLLOWS, NOT_MADE, Reasons, table_of_reasons
from spinegrade.runtime.run_record import write_record


def test_values_differ_key_by_key_and_lists_as_a_whole() -> None:
    before = {"a": {"b": 1, "c": [1, 2], "d": None}, "e": 5}
    after = {"a": {"b": 2, "c": [1, 3], "d": None}, "f": {"g": 6}}
    assert differences(before, after) == [
        (("a", "b"), 1, 2),
        (("a", "c"), [1, 2], [1, 3]),
        (("e",), 5, ABSENT),
        (("f",), ABSENT, {"g": 6}),
    ]
    assert differences(before, before) == []


BEFORE = {
    "classifiers": {"small": {"rate": 0.002, "epochs": 40}, "big": {"rate": 0.002}},
    "phantom": {"seed": 7},
    "runtime": {"seed": 7},
    "cohort": {"fold_salt": 5},
}


@pytest.mark.parametrize(
    ("edit", "param", "wildcards", "said"),
    [
        # The same key of two blocks changed alike: the job's own is meant.
        ({"classifiers": {"small": {"rate": 0.003, "epochs": 40}, "big": {"rate": 0.003}}},
         (("classifier", "rate"), 0.002, 0.003), ["big"],
         ["classifiers.big.rate was 0.002, is 0.003"]),
        # A key of that name in another block stayed as it was.
        ({"runtime": {"seed": 8}}, (("seed",), 7, 8), [], ["runtime.seed was 7, is 8"]),
        # The param has another name than the key.
        ({"cohort": {"fold_salt": 6}}, (("salt",), 5, 6), [], ["cohort.fold_salt was 5, is 6"]),
        # A key that is new.
        ({"classifiers": {"small": {"rate": 0.002, "epochs": 40, "dropout": 0.1}, "big": {}}},
         (("classifier", "dropout"), ABSENT, 0.1), ["small"],
         ["classifiers.small.dropout was not set, is 0.1"]),
        # What follows from no key is told by the param.
        ({}, (("shapes", "canal", "rows"), 64, 72), [], ["shapes.canal.rows was 64, is 72"]),
    ],
)  # fmt: skip
def test_a_changed_param_is_told_by_its_key(
    edit: dict[str, Any], param: tuple[Any, ...], wildcards: list[str], said: list[str]
) -> None:
    config = differences(BEFORE, BEFORE | edit)
    ((path, before, after),) = [param]
    change = differences({path[0]: _nested(path[1:], before)}, {path[0]: _nested(path[1:], after)})
    assert setting_words(change, config, wildcards) == said


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for key in reversed(path):
        value = {} if value is ABSENT else {key: value}
    return value


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"scripts/a": "1", "spinegrade.x": "9", "package numpy": "2.0"}, ["code of spinegrade.x"]),
        ({"scripts/a": "9", "spinegrade.x": "2", "package numpy": "2.0"}, ["code of scripts/a.py"]),
        # A module that is new follows from the edit of the one that imports it.
        ({"scripts/a": "9", "spinegrade.x": "2", "spinegrade.y": "3", "package numpy": "2.0"},
         ["code of scripts/a.py"]),
        ({"scripts/a": "1", "spinegrade.x": "2", "package numpy": "2.1"},
         ["package numpy was 2.0, is 2.1"]),
        # A model that the configuration names anew, and one that it no longer names.
        ({"scripts/a": "1", "spinegrade.x": "2", "spinegrade.y": "3", "package numpy": "2.0"},
         ["code of spinegrade.y"]),
        ({"scripts/a": "1", "package numpy": "2.0"}, ["code without spinegrade.x"]),
    ],
)  # fmt: skip
def test_changed_code_is_told_by_its_module(after: dict[str, str], said: list[str]) -> None:
    before = {"scripts/a": "1", "spinegrade.x": "2", "package numpy": "2.0"}
    assert code_words(before, after) == said
    assert code_words(None, after) == ["its code, of which no parts were kept"]


def test_the_parts_of_code_are_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"spinegrade.x": "f" * 64, "package numpy": "2.0.0-with-a-long-name"}
    monkeypatch.setattr(code_parts, "PARTS", {"c0de": known})
    code_parts.keep_parts(tmp_path, "c0de")
    kept = {"spinegrade.x": "f" * 16, "package numpy": "2.0.0-with-a-long-name"}
    assert code_parts.read_parts(tmp_path, "c0de") == kept == code_parts.parts_of("c0de")
    known["spinegrade.x"] = "0" * 64
    code_parts.keep_parts(tmp_path, "c0de")
    assert code_parts.read_parts(tmp_path, "c0de") == kept
    assert code_parts.read_parts(tmp_path, "another") is None


def deliver(root: Path, studies: dict[str, bytes], labelled: str) -> Delivered:
    for study, content in studies.items():
        file = root / "train_images" / study / "1" / "1.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    rows = [f"{study},{labelled if study == '7' else 'a'}" for study in studies]
    (root / "train.csv").write_text("\n".join(["study_id,grade", *rows]))
    return Delivered(str(root), shards=1, folds=2, salt=1)


def test_the_studies_behind_a_digest_are_named(tmp_path: Path) -> None:
    delivered = deliver(tmp_path, {"7": b"x", "8": b"y", "9": b"z"}, "a")
    delivered.shard_digest(0, "files", "labels")
    keep_state(tmp_path, "2026-01-01", delivered.known)
    # A run that found the same keeps nothing more, and its jobs are compared with the same.
    keep_state(tmp_path, "2026-01-02", delivered.known)
    assert [file.stem for file in (tmp_path / "runs" / "data").iterdir()] == ["2026-01-01"]
    assert read_state(tmp_path, "2026-01-02") == delivered.known
    assert read_state(tmp_path, "2025-12-31") == {} == read_state(tmp_path, None)

    now = deliver(tmp_path, {"7": b"x", "8": b"longer", "6": b"w"}, "b")
    (tmp_path / "train_images" / "9" / "1" / "1.dcm").unlink()
    for folder in ("9/1", "9"):
        (tmp_path / "train_images" / folder).rmdir()
    before = read_state(tmp_path, "2026-01-02")
    files, both = now.shard_digest(0, "files"), now.shard_digest(0, "files", "labels")
    told = {"gone": ["9"], "new": ["6"], "files": ["8"]}
    # Writing the same bytes anew gave study 7 another time.
    assert now.changed_since(files, before) == told | {"files": ["7", "8"]}
    assert now.changed_since(both, before) == told | {"files": ["7", "8"], "labels": ["7"]}
    assert now.changed_since("of another process", before) == {}
    assert now.changed_since(both, {"files": {}}) == {}
    assert data_words(now.changed_since(both, before)) == [
        "new: study 6",
        "gone: study 9",
        "image files of study 7, 8",
        "grades of study 7",
    ]


def job(rule: str, reason: dict[str, Any] | None = None, **wildcards: str) -> Any:
    """A job as Snakemake gives it, with its reason."""
    name = "_".join([rule, *wildcards.values()])
    why = {"forced": False, "missing_output": [], "incomplete_output": [], "updated_input": set()}
    why |= {"updated_input_run": set(), "get_names": lambda: ["software"]} | (reason or {})
    return SimpleNamespace(
        rule=SimpleNamespace(name=rule), wildcards=wildcards, log=[f"results/x/logs/{name}.log"],
        output=[f"results/x/{name}"], reason=SimpleNamespace(**why),
    )  # fmt: skip


def test_each_kind_of_staleness_has_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"classifiers": {"small": {"rate": 2}}, "runtime": {"seed": 1}}
    Path("results/x").mkdir(parents=True)
    write_record(Path("results/x"), {"run": "r1", "config": config})
    monkeypatch.setattr(code_parts, "PARTS", {"new": {"spinegrade.y": "9"}})
    code_parts.keep_parts("results/x", "new")
    (tmp_path / "results/x/runs/code/new.json").rename("results/x/runs/code/old.json")
    monkeypatch.setattr(code_parts, "PARTS", {"new": {"spinegrade.y": "8"}})
    freshness = Freshness(lambda rule: None, "clock", lambda path: path)
    changed = {"classifiers": {"small": {"rate": 3}}, "runtime": {"seed": 1}}
    reasons = Reasons(freshness, changed, "results/x", lambda digest, run: [f"{digest} of {run}"])
    then = {"classifier": {"rate": 2}, "code": "old", "digest": "d", "upstream": {"a": "1"}}

    def stale(one: Any, note: Note | None, **now: Any) -> list[str]:
        params = then | now | {"checkpoint": "elsewhere"}
        freshness.stale[one.log[0]] = Stale(one.rule.name, one.wildcards, params, note)
        return reasons.of(one, one.reason)

    known = Note("f", "r1", (), then)
    train = job("train", classifier="small")
    assert stale(train, known, classifier={"rate": 3}) == ["classifiers.small.rate was 2, is 3"]
    assert stale(train, known, code="new", digest="e") == ["code of spinegrade.y", "e of r1"]
    # What follows from elsewhere is told where nothing of its own changed.
    assert stale(train, known, upstream={"a": "2"}) == ["code or settings of a"]
    assert stale(train, known, upstream={"a": "2"}, digest="e") == ["e of r1"]
    assert stale(train, Note("f")) == [
        "made before this version, which keeps what outputs are made with"
    ]
    assert stale(train, None) == ["nothing tells what its outputs were made with"]
    absent = job("train", {"missing_output": ["results/x/a"]}, classifier="new")
    assert stale(absent, None) == [NOT_MADE]
    # Jobs whose note is today's.
    for reason, words in (
        ({"missing_output": ["x"]}, ["gone: x"]),
        (
            {"updated_input": {"in.csv", "clock", "z"}, "updated_input_run": {"z"}},
            ["in.csv is newer"],
        ),
        ({"updated_input_run": {"z"}}, [FOLLOWS]),
        ({"forced": True}, ["forced on the command line"]),
        ({}, ["software"]),
    ):
        current = job("current", reason)
        assert reasons.of(current, current.reason) == words


def test_jobs_of_one_rule_and_reason_share_a_line() -> None:
    key = ["classifiers.small.rate was 2, is 3"]
    reasons = [
        *((job("train", classifier="small", fold=str(fold)), key) for fold in range(3)),
        (job("train", classifier="big", fold="0"), ["code of m"]),
        (job("convert", shard="0"), [NOT_MADE]),
        *((job("predict", classifier=name), [FOLLOWS]) for name in ("small", "big")),
        *((job("pair", one=str(n), two=str(n)), ["code of n"]) for n in range(2)),
    ]
    assert table_of_reasons(reasons, ["pair", "train"]).splitlines() == [
        "Why jobs run:",
        "  pair (2 jobs): code of n",
        "  train classifier=small fold=0,1,2: classifiers.small.rate was 2, is 3",
        "  train classifier=big fold=0: code of m",
        "  not made yet: convert",
        "  what they read is made anew: predict (2 jobs)",
    ]
    assert table_of_reasons([], []) is None
    fresh = table_of_reasons([(job("convert"), [NOT_MADE])], [])
    assert fresh == "Why jobs run: none of them has been done yet."
