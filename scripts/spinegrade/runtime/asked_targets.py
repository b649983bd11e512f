"""Targets of a command line that Snakemake cannot make, in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spinegrade.runtime.profile_rules import rules_in

_LIST = "snakemake --list shows the rules, snakemake -n what a run without a target makes"


def words_on_missing(target: str, rules: Iterable[Any], project: Path, results: str) -> str:
    """A sentence on a ``target`` that no rule makes.

    Parameters
    ----------
    target: what was asked for, a rule's name or a file.
    rules: Snakemake's rules of this configuration.
    project: the folder with rules/, where rules stand that this configuration leaves out.
    results: the cohort's results folder.
    """
    here = {rule.name for rule in rules}
    known = rules_in(project)
    if "/" in target or "." in target:
        hint = "" if target.startswith(f"{results}/") else f"; results of this cohort: {results}/"
        return f"no rule makes the file {target}{hint}; {_LIST}"
    if target in known:
        return (
            f"{target} is a rule, but not with this configuration: it leaves that part out (see "
            f"cohort.kind, models.from and the blocks of {target}'s room); {_LIST}"
        )
    close = difflib.get_close_matches(target, sorted(here), 1)
    hint = f"did you mean {close[0]}?" if close else "targets are the names of rules, and files."
    return f"no rule and no file that a rule makes is called {target!r}; {hint} {_LIST}"


def words_on_wildcards(rule: Any) -> str:
    """A sentence on a target that is a rule of many jobs."""
    wildcards = " and ".join(sorted(rule.wildcard_names))
    # What a wildcard may be is the rule's own matter.
    files = [re.sub(r"\{(\w+),[^{}]*\}", r"{\1}", str(path)) for path in rule.output]
    return (
        f"{rule.name} runs once for each {wildcards}, so its name alone is no target; ask for a "
        f"file that it makes, with {wildcards} filled in, such as {files[0]}"
    )
