"""Rules named by a profile or a flag: Snakemake takes any name, and does nothing with it."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError

_RULE = re.compile(r"^ *(?:rule|checkpoint|use rule \w+ as) (\w+)(?::| with:)", re.MULTILINE)


def rules_in(project: Path) -> set[str]:
    """Names of all rules under ``project``/rules, whatever the configuration."""
    files = (project / "rules").glob("*.smk")
    return {name for file in files for name in _RULE.findall(file.read_text(encoding="utf-8"))}


def check_profile_rules(workflow: Any, project: Path) -> None:
    """Hold the rules of ``set-resources``, ``set-threads`` and ``groups`` against the project's.

    All rules of the project are known names, those too that this cohort's kind leaves out.
    Raises SpinegradeError that names the setting, the unknown rule and the likely one.
    """
    # Rules of a workflow elsewhere than in rules/ (a test's, a user's own around this one).
    known = {rule.name for rule in workflow.rules} | rules_in(project)
    spoken_of = {
        "set-resources": workflow.resource_settings.overwrite_resources,
        "set-threads": workflow.resource_settings.overwrite_threads,
        "groups": workflow.group_settings.overwrite_groups,
    }
    problems = []
    for setting, rules in spoken_of.items():
        for rule in sorted(set(rules) - known):
            close = difflib.get_close_matches(rule, sorted(known), 1)
            hint = f"did you mean {close[0]}?" if close else f"rules: {', '.join(sorted(known))}."
            problems.append(f"{setting} speaks of {rule!r}, which is no rule; {hint}")
    if problems:
        raise SpinegradeError(
            " ".join(problems) + " Mend the profile, or the flag of the same name.",
            code="PROFILE_RULES",
        )
