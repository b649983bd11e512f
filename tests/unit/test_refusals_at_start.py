"""What Snakemake would end with a trace, or start in vain: told in a sentence before any job."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.exceptions import WorkflowError
from spinegrade.errors import SpinegradeError
from spinegrade.runtime.asked_targets import words_on_missing, words_on_wildcards
from spinegrade.runtime.command_line import check_command_line, find_cache, refusal_of
from spinegrade.runtime.interpreter import with_quoted_answer, with_quoted_python
from spinegrade.runtime.plain_words import plainly


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--config 'cohort={name: x, folds: 2}' -n", None),
        ("--config a_b=1 -- check_cohort", None),
        ("-n check_cohort", None),
        ("--config cohort={name: x, folds: 2} -n",
         "--config cohort={name:: this is only a part, since "
         "the shell splits words at spaces; put quotes around the whole: "
         "--config 'cohort={name: x, folds: 2}'"),
        ("-C 'runtime={shards: 2}' check_cohort",
         "--config takes all words up to the next flag, and "
         "'check_cohort' is not of the form 'BLOCK={KEY: VALUE}'; put -- before targets: "
         "--config ... -- check_cohort"),
        ("--config runtime.shards=3", "--config runtime.shards=3: 'runtime.shards' is no name of a "
         "block; give it as 'runtime={shards: 3}'"),
        ("--config 'runtime={shards: 3'", "--config 'runtime={shards: 3': the value is not valid "
         "YAML; give it as 'runtime={KEY: VALUE, KEY: VALUE}'"),
        ("--config=folds",
         "--config takes all words up to the next flag, and 'folds' is not of the "
         "form 'BLOCK={KEY: VALUE}'; put -- before targets: --config ... -- folds"),
        ("--configfile good.yaml gone.yaml",
         "--configfile gone.yaml cannot be read (No such file or "
         "directory); name a YAML file that is there"),
        ("--configfile=.",
         "--configfile . cannot be read (Is a directory); name a YAML file that is "
         "there"),
        ("--configfiles bad.yaml",
         "--configfile bad.yaml, line 2, column 1: not valid YAML (expected "
         "',' or '}', but got '<stream end>'); mend it there or just above"),
        ("--configfile twice.yaml",
         "--configfile twice.yaml, line 3, column 1: the key 'cohort' stands there a second time "
         "and would replace the first; write all of it under one"),
        ("--configfile good.yaml check_cohort",
         "--configfile check_cohort cannot be read (No such file or directory); name a YAML file "
         "that is there, and put -- before targets"),
        ("--configfile latin.yaml",
         "--configfile latin.yaml cannot be read (it is not UTF-8 text); "
         "name a YAML file that is there"),
        ("--configfile empty.yaml", "--configfile empty.yaml is empty; it must hold blocks such as "
         "cohort: with their keys below them, each with a colon and a space behind it"),
        ("--configfile text.yaml", "--configfile text.yaml holds no block of keys; it must hold "
         "blocks such as cohort: with their keys below them, each with a colon and a space "
         "behind it"),
    ],
)  # fmt: skip
def test_a_command_line_of_no_use_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (
        ("good", b"cohort: {folds: 2}"),
        ("bad", b"cohort: {folds: 2\n"),
        ("latin", b"cohort: {name: M\xfcller}"),
        ("empty", b"# nothing\n"),
        ("text", b"folds=2"),
        ("twice", b"cohort: {folds: 2}\nruntime: {}\ncohort: {name: x}\n"),
    ):
        Path(f"{name}.yaml").write_bytes(content)
    assert refusal_of(shlex.split(line)) == said


def test_caches_go_to_the_working_folder_where_the_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good = {"HOME": str(tmp_path / "home")}
    assert find_cache(good) == (None, None) and set(good) == {"HOME"}
    # A file in the way stands for what may not be written, which the superuser always may.
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    check_command_line(["-n"])
    instead = tmp_path / ".snakemake" / "cache"
    assert capsys.readouterr().err == (
        f"{tmp_path}/file/.cache cannot be written, so caches go to {instead}; or set "
        "XDG_CACHE_HOME to a folder that you can write to.\n"
    )
    own = {"HOME": str(tmp_path / "file"), "XDG_CACHE_HOME": str(tmp_path / "mine")}
    assert find_cache(own) == (None, None) and own["XDG_CACHE_HOME"] == str(tmp_path / "mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "c"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path(".snakemake").touch()
    with pytest.raises(
        SystemExit, match=r"neither to .*/file/c nor to .*/elsewhere/.snakemake/cac"
    ):
        check_command_line(["-n"])


class Rule:
    def __init__(self, name: str, *wildcards: str) -> None:
        self.name, self.wildcard_names = name, set(wildcards)
        self.output = [f"results/x/{name}/{{{'}/{'.join(wildcards)}}}.csv"]

    def has_wildcards(self) -> bool:
        return bool(self.wildcard_names)


def test_a_target_that_is_none_gets_the_likely_one(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.smk").write_text("rule make_phantom:\n    input:\n        1\n")
    rules = [Rule("check_cohort"), Rule("train_classifier", "fold", "classifier"), Rule("all")]

    def said(target: str) -> str:
        return words_on_missing(target, rules, tmp_path, "results/x")

    assert said("check_cohrt").startswith(
        "no rule and no file that a rule makes is called 'check_cohrt'; did you mean check_cohort?"
    )
    assert "did you mean train_classifier?" in said("train_clasifier")
    assert "targets are the names of rules, and files." in said("qqq")
    assert said("make_phantom").startswith(
        "make_phantom is a rule, but not with this configuration"
    )
    assert said("results/y/a.csv").startswith(
        "no rule makes the file results/y/a.csv; results of this cohort: results/x/; snakemake"
    )
    assert said("results/x/a.csv").startswith("no rule makes the file results/x/a.csv; snakemake")
    assert words_on_wildcards(rules[1]) == (
        "train_classifier runs once for each classifier and fold, so its name alone is no target; "
        "ask for a file that it makes, with classifier and fold filled in, such as "
        "results/x/train_classifier/{fold}/{classifier}.csv"
    )


def test_a_refusal_is_told_alone_and_any_other_error_as_before() -> None:
    words = plainly(lambda error, linemaps=None: f"trace of {error} {linemaps}")
    assert words(SpinegradeError("no such folder"), linemaps={}) == "Error: no such folder"
    # As Snakemake words what an input function raises.
    wrapped = WorkflowError("Error:\n  SpinegradeError: no\nimages\nWildcards:\n  shard=0")
    assert words(wrapped, {}) == "Error: no\nimages"
    assert words(ValueError("a fault"), linemaps=3) == "trace of a fault 3"
    fault = WorkflowError("Error:\n  ValueError: a fault\nWildcards:\n  shard=0")
    assert words(fault).startswith("trace of Error:")
    # A fault on the way of telling a refusal is a fault.
    fault = ValueError("a fault")
    fault.__context__ = SpinegradeError("no images")
    assert words(fault, linemaps=3) == "trace of a fault 3"


def test_the_interpreter_is_quoted_in_commands_and_a_plain_one_left() -> None:
    ran: list[str] = []

    def execute(self: Any, command: str, **values: Any) -> None:
        ran.append(command.format(**values))

    quoted = with_quoted_python(execute)
    for python in ("/usr/bin/python", "/home/My Projects/bin/python", "/it's/python"):
        quoted(SimpleNamespace(), "{py_exec} x.py", py_exec=python)
        assert shlex.split(ran[-1]) == [python, "x.py"]
        assert shlex.split(with_quoted_answer(lambda self, answer=python: answer)(None)) == [python]
    assert ran[0] == "/usr/bin/python x.py"
    quoted(SimpleNamespace(), "echo {word}", word="a b")
    assert ran[-1] == "echo a b"
