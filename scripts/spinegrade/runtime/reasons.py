"""Why the jobs of a plan run: which key changed from what to what, which module, which study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from spinegrade.runtime.changes import ABSENT, code_words, differences, listed, setting_words
from spinegrade.runtime.code_parts import parts_of, read_parts
from spinegrade.runtime.freshness import Freshness, Stale
from spinegrade.runtime.impersonal import impersonal
from spinegrade.runtime.made_note import plain_params
from spinegrade.runtime.run_record import read_run_config

NOT_MADE = "not made yet"
FOLLOWS = "what they read is made anew"
_OLD_NOTE = "made before this version, which keeps what outputs are made with"
_NO_NOTE = "nothing tells what its outputs were made with"
# Params that are told in words of their own: code, data, and what stands for that of other rules.
_CODE, _DIGEST, _LISTING = "code", "digest", "listing"
_OF_OTHERS = ("upstream", "fingerprints")


class Reasons:
    """Words on why jobs are stale.

    ``data_words(digest, run)`` gives phrases on what of the delivered data behind a job's
    ``digest`` changed since ``run``; none where that is not known.
    """

    def __init__(
        self,
        freshness: Freshness,
        config: dict[str, Any],
        results: str,
        data_words: Callable[[Any, str | None], list[str]],
    ) -> None:
        self._freshness = freshness
        self._config = config
        self._results = results
        self._data_words = data_words
        self.clock = freshness.clock
        self._config_changes = cache(self._changes_since)

    def of(self, job: Any, reason: Any) -> list[str]:
        """Phrases on why Snakemake's ``job`` runs, whose own ``reason`` is given."""
        if reason.forced:
            return ["forced on the command line"]
        stale = self._freshness.stale.get(str(job.log[0])) if job.log else None
        if stale is not None and stale.note is not None:
            return self._of_stale(stale, stale.note)
        missing = sorted(str(path) for path in reason.missing_output)
        if missing:
            # A job without a note has not been done.
            return [NOT_MADE] if stale is not None else [f"gone: {listed(missing)}"]
        if reason.incomplete_output:
            return ["it was interrupted"]
        newer = sorted(str(path) for path in reason.updated_input - reason.updated_input_run)
        newer = [path for path in newer if path != self.clock]
        if newer:
            return [f"{listed(newer)} is newer"]
        if stale is not None:
            return [_NO_NOTE]
        if reason.updated_input_run:
            return [FOLLOWS]
        return sorted(set(reason.get_names()))

    def _of_stale(self, stale: Stale, note: Any) -> list[str]:
        if note.params is None:
            return [_OLD_NOTE]
        now = plain_params(stale.params)
        changed = {change.path[0] for change in differences(note.params, now)}
        words = []
        own = {_CODE, _DIGEST, _LISTING, *_OF_OTHERS}
        settings = [
            change
            for name in sorted(changed - own)
            for change in differences(note.params.get(name, ABSENT), now.get(name, ABSENT), (name,))
        ]
        wildcards = [str(value) for _, value in stale.wildcards.items()]
        words += setting_words(settings, self._config_changes(note.run), wildcards)
        if _CODE in changed:
            before = read_parts(self._results, note.params.get(_CODE, ""))
            words += code_words(before, parts_of(now[_CODE]) or {})
        if _DIGEST in changed:
            told = self._data_words(stale.params.get(_DIGEST), note.run)
            words += told or ["the data that it reads"]
        if _LISTING in changed and not (_DIGEST in changed or words):
            words.append("folders of images that came or went")
        for name in _OF_OTHERS:
            if name in changed and not words:
                before, after = note.params.get(name) or {}, now.get(name) or {}
                behind = sorted({change.path[0] for change in differences(before, after)})
                words.append(f"code or settings of {listed(behind)}")
        return words or ["a path in its settings"]

    def _changes_since(self, run: str | None) -> list[Any]:
        before = read_run_config(self._results, run)
        return [] if before is None else differences(before, impersonal(self._config))


def table_of_reasons(reasons: Iterable[tuple[Any, list[str]]], rules: Sequence[str]) -> str | None:
    """Lines on why jobs run, jobs of one rule and reason together; None where there are none.

    ``reasons``: Snakemake's jobs with their phrases; ``rules``: all names, in their order.
    """
    by_words: dict[tuple[str, str], list[Any]] = defaultdict(list)
    plain: dict[str, list[Any]] = {NOT_MADE: [], FOLLOWS: []}
    for job, words in reasons:
        text = "; ".join(words)
        if text in plain:
            plain[text].append(job)
        else:
            by_words[job.rule.name, text].append(job)
    if not by_words and not plain[FOLLOWS]:
        return "Why jobs run: none of them has been done yet." if plain[NOT_MADE] else None
    ordered = sorted(by_words.items(), key=lambda item: (rules.index(item[0][0]), item[0][1]))
    lines = [f"  {_jobs(rule, jobs)}: {text}" for (rule, text), jobs in ordered]
    for text, jobs in plain.items():
        if jobs:
            lines.append(f"  {text}: {_counts(jobs)}")
    return "\n".join(["Why jobs run:", *lines])


def _jobs(rule: str, jobs: list[Any]) -> str:
    """A rule and the wildcards of its jobs: train_grader learner=small fold=0,1,2."""
    values: dict[str, list[str]] = defaultdict(list)
    for job in jobs:
        for name, value in job.wildcards.items():
            if str(value) not in values[name]:
                values[name].append(str(value))
    numbers = 1
    for found in values.values():
        numbers *= len(found)
    if numbers != len(jobs) or any(len(found) > 12 for found in values.values()):
        return f"{rule} ({len(jobs)} jobs)"
    parts = (
        f"{name}={','.join(sorted(found, key=lambda text: (len(text), text)))}"
        for name, found in values.items()
    )
    return " ".join([rule, *parts])


def _counts(jobs: list[Any]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for job in jobs:
        counts[job.rule.name] += 1
    return ", ".join(name if n == 1 else f"{name} ({n} jobs)" for name, n in counts.items())
