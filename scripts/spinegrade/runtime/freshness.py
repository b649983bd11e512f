"""Whether a job's outputs were made by today's code and settings; Snakemake forgets.

Snakemake knows what a job was run with only as long as ``.snakemake`` lasts, and never looks at
the params of a job behind an ``ancient`` input that is being remade. So every stage leaves a
fingerprint of its params (code, settings, data digests) beside the results (``made_note``), and
every rule has one more input, the clock: a file that is newer than any output. It is ``ancient``,
hence without effect, for a job whose fingerprint is today's, and an ordinary input for any other.
The same holds for the inputs that a rule calls settled: of a stale job they are ordinary, since
Snakemake asks nothing of a job that hangs on remade files by ancient inputs alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from spinegrade.runtime.made_note import (
    NO_CONTENT,
    Note,
    note_of,
    params_fingerprint,
    read_note,
)

# Params that say which data a job reads, not how it works on them.
OF_THE_DATA = frozenset({"digest", "listing", "root"})
_WILDCARD = re.compile(r"\{(\w+)[^{}]*\}")


def set_clock(path: str | Path) -> None:
    """Make ``path`` newer than any output, and different from what it held before."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The content counts too: Snakemake passes over a small input that only looks newer.
    path.write_text(f"{time.time_ns()}\n")


@dataclass(frozen=True)
class Stale:
    """A job that is not current: today's params, and the note on its outputs."""

    rule: str
    wildcards: Any
    params: dict[str, Any]
    note: Note | None


class Freshness:
    """The fingerprints of a workflow's jobs, as they stand and as they would be today."""

    def __init__(
        self,
        rule_named: Callable[[str], Any],
        clock: str,
        ancient: Callable[[str], Any],
    ) -> None:
        self._rule_named = rule_named
        self.clock = clock
        self._ancient = ancient
        # By log: the jobs that were asked about and are not current.
        self.stale: dict[str, Stale] = {}

    def fingerprint(self, rule: str, wildcards: Any) -> str:
        """Today's fingerprint of a job: of all params of its rule."""
        return params_fingerprint(self._values(rule, wildcards, NO_CONTENT))

    def made_with(self, rule: str, **wildcards: str) -> str:
        """Today's fingerprint of code and settings alone, whatever data the rule's jobs read.

        For rules that take the outputs of ``rule`` as ancient inputs.
        """
        asked = SimpleNamespace(items=wildcards.items, **wildcards)
        return params_fingerprint(self._values(rule, asked, NO_CONTENT | OF_THE_DATA))

    def _values(self, rule: str, wildcards: Any, left_out: frozenset[str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in self._rule_named(rule).params.items():
            if name in left_out:
                continue
            if callable(value):
                value = value(wildcards)
            elif isinstance(value, str) and "{" in value:
                value = _filled(value, wildcards)
            values[name] = value
        return values

    def is_current(self, rule: str, wildcards: Any) -> bool:
        """Whether the outputs that stand were made with today's fingerprint."""
        log = _filled(str(self._rule_named(rule).log[0]), wildcards)
        params, note = self._values(rule, wildcards, NO_CONTENT), read_note(note_of(log))
        if note is not None and note.fingerprint == params_fingerprint(params):
            return True
        self.stale[log] = Stale(rule, wildcards, params, note)
        return False

    def clock_for(self, rule: str) -> Callable[[Any], Any]:
        """Input function of ``rule``: the clock, ancient while the job is current."""
        return self.settled(rule, lambda wildcards: self.clock)

    def settled(self, rule: str, paths: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Input function of ``rule``: what ``paths`` gives, ancient while the job is current.

        A path, several, or a dictionary of them for ``unpack``.
        """

        def found(wildcards: Any) -> Any:
            given = paths(wildcards)
            if not self.is_current(rule, wildcards):
                return given
            if isinstance(given, dict):
                return {name: self._ancient(part) for name, part in given.items()}
            return self._ancient(given)

        return found

    def param_for(self, rule: str) -> Callable[[Any], str]:
        """Param function of ``rule``: the fingerprint that its script leaves when it is done."""

        def fingerprint(wildcards: Any) -> str:
            return self.fingerprint(rule, wildcards)

        return fingerprint


def _filled(pattern: str, wildcards: Any) -> str:
    """``pattern`` with its wildcards filled in, their constraints ({name,regex}) dropped."""
    known = dict(wildcards.items())
    return _WILDCARD.sub(lambda found: known[found[1]], pattern)
