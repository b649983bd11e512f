"""The page of a cohort that was checked: verdict, reasons, series that lose something, pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from spinegrade.conversion_codes import CUT_CODES, NOTE_CODES
from spinegrade.report import figures_check
from spinegrade.report.check_annotations import (
    CheckedAnnotations,
    annotations,
    annotations_line,
    frames_line,
)
from spinegrade.report.parts import Card, Cards, Figure, Note, Section, Table
from spinegrade.report.render import write_sections

_LOGGER = logging.getLogger("spinegrade")
MOST_ROWS = 500
MOST_NAMES = 3
FEW = 12  # rows of a list that is shown open
_VERDICT_WORDS = {"good": "whole", "partial": "in part", "refused": "refused"}


@dataclass(frozen=True)
class CheckedCohort:
    """Tables verdicts, rejected (the cohort's own rows included) and studies.

    ``advice``: what to do, by code. ``settings``: the limits that were applied. ``annotations``:
    the annotated points, where they were checked; they change no verdict on the images.
    """

    verdicts: pd.DataFrame
    rejected: pd.DataFrame
    studies: pd.DataFrame
    advice: Mapping[str, str]
    settings: Mapping[str, Any]
    annotations: CheckedAnnotations | None = None

    def study_verdicts(self) -> pd.Series:
        """Verdict of each study of the cohort (index: study).

        ``good``: all its series are, and nothing of it was left out; ``refused``: no series is
        left.
        """
        by_study = self.verdicts.assign(
            usable=self.verdicts["verdict"] != "refused",
            whole=self.verdicts["verdict"] == "good",
        ).groupby("study")[["usable", "whole"]]
        studies = pd.Index(self.studies["study"], name="study")
        usable = by_study.any()["usable"].reindex(studies, fill_value=False)
        whole = by_study.all()["whole"].reindex(studies, fill_value=False)
        lost = self.rejected[~self.rejected["code"].isin(NOTE_CODES)]
        whole &= ~studies.isin(lost["study"])
        verdict = pd.Series("refused", index=studies)
        return verdict.mask(usable, "partial").mask(usable & whole, "good")

    def studies_only_cut(self) -> int:
        """Studies that are not whole, but lose no slice."""
        verdict = self.study_verdicts()
        kept = (self.verdicts["verdict"] == "good") | _only_cut(self.verdicts)
        losing = set(self.verdicts.loc[~kept, "study"])
        costly = ~self.rejected["code"].isin(CUT_CODES | NOTE_CODES)
        losing |= set(self.rejected.loc[costly, "study"])
        return int((~verdict[verdict == "partial"].index.isin(losing)).sum())


def headline(checked: CheckedCohort) -> str:
    """The verdict in one line."""
    found = checked.study_verdicts().value_counts()
    good, partial, refused = (int(found.get(name, 0)) for name in _VERDICT_WORDS)
    total = good + partial + refused
    line = f"{good:,} of {total:,} studies can be used whole"
    if not partial and not refused:
        return f"{line}."
    cut = checked.studies_only_cut()
    lossless = f" ({cut:,} of them only cut at gaps, no slice lost)" if cut else ""
    return f"{line}; {partial:,} in part{lossless}, {refused:,} not at all."


def verdict(checked: CheckedCohort) -> Section:
    """Counts of series, files and slices, and the verdict by kind of series."""
    section = Section("verdict", "Verdict")
    table = checked.verdicts
    counts = table["verdict"].value_counts()
    cards = [
        Card("Series whole", f"{counts.get('good', 0):,}", f"of {len(table):,}"),
        Card(
            "Series in part",
            f"{counts.get('partial', 0):,}",
            f"{_only_cut(table).sum():,} only cut",
        ),
        Card("Series refused", f"{counts.get('refused', 0):,}", "no volume"),
        Card("Slices usable", f"{table['slices'].sum():,}", f"{table['files'].sum():,} files"),
        Card("Volumes", f"{table['volumes'].sum():,}", "will be written"),
    ]
    kinds = table.assign(kind=figures_check.kind_of(table)).groupby("kind")
    rows = [
        [
            str(kind),
            *(int((part["verdict"] == name).sum()) for name in _VERDICT_WORDS),
            int(part.loc[part["verdict"] != "refused", "study"].nunique()),
        ]
        for kind, part in kinds
    ]
    section.blocks += [
        Cards(cards),
        Table(
            ["Kind", "Whole", "In part", "Refused", "Studies with a usable one"],
            rows,
            f"Series by kind, in a cohort of {len(checked.studies):,} studies.",
        ),
        Note(
            "Only headers were read, and pixels where copies had to be told from each other. "
            "Compressed pixels that are damaged show only when they are decoded: conversion may "
            "refuse a few slices more, and lists them in the same way."
        ),
    ]
    return section


def _only_cut(verdicts: pd.DataFrame) -> pd.Series:
    """Series that lose no slice: they are cut into volumes where slices are missing or uneven."""
    harmless = verdicts["codes"].map(lambda codes: set(codes.split(",")) <= CUT_CODES | NOTE_CODES)
    return harmless & (verdicts["slices"] >= verdicts["files"])


def reasons(checked: CheckedCohort) -> Section:
    """What was found, by code, with what to do."""
    section = Section("reasons", "By reason")
    if checked.rejected.empty:
        section.blocks.append(Note("Nothing is left out.", "missing"))
        return section
    groups = checked.rejected.groupby("code", sort=True)
    rows = [
        [
            str(code),
            len(part),
            len(part[["study", "series"]].dropna().drop_duplicates()),
            int(part["study"].nunique()),
            checked.advice.get(str(code), "see the rows"),
        ]
        for code, part in groups
    ]
    rows.sort(key=lambda row: (-row[3], row[0]))
    section.blocks.append(
        Table(
            ["Code", "Rows", "Series", "Studies", "What to do"],
            rows,
            "The codes are explained in docs/refusals.md and docs/cohort.md.",
        )
    )
    return section


def losses(checked: CheckedCohort) -> Section:
    """The series that lose something, and each thing that is left out."""
    section = Section("losses", "What is left out")
    table = checked.verdicts[checked.verdicts["verdict"] != "good"]
    if table.empty and checked.rejected.empty:
        section.blocks.append(Note("Every series will be converted whole.", "missing"))
        return section
    # The worst first.
    table = table.sort_values(["verdict", "study", "series"], ascending=[False, True, True])
    shown = table.head(MOST_ROWS)
    rows = [
        [study, series, kind, _VERDICT_WORDS[word], int(files), int(slices), int(volumes), codes]
        for study, series, kind, word, files, slices, volumes, codes in zip(
            shown["study"],
            shown["series"],
            figures_check.kind_of(shown),
            shown["verdict"],
            shown["files"],
            shown["slices"],
            shown["volumes"],
            shown["codes"].str.replace(",", ", "),
            strict=True,
        )
    ]
    heads = ["Study", "Series", "Kind", "Verdict", "Files", "Slices usable", "Volumes", "Codes"]
    text = f"Series that lose something{_rest(len(table), 'verdicts.parquet')}"
    if rows:
        section.blocks.append(Table(heads, rows, text, fold=len(rows) > FEW))
    section.blocks.append(_found(checked))
    return section


def _found(checked: CheckedCohort) -> Table:
    """What was left out, one line for the files of a series that share a reason."""
    keys = ["study", "series", "code", "found", "action"]
    lines = checked.rejected.fillna({"series": ""}).groupby(keys, sort=False)["file"].agg(list)
    table = lines.rename("files").reset_index()
    # A share for every code: one that fills thousands of lines must not hide the others.
    rank = table.groupby("code").cumcount().sort_values(kind="stable")
    shown = table.loc[rank.index[:MOST_ROWS]].sort_index()
    rows = [
        [study, series or None, _names(files), code, _told(found, action, code, checked.advice)]
        for study, series, code, found, action, files in shown.itertuples(index=False)
    ]
    return Table(
        ["Study", "Series", "Files", "Code", "What was found, what was done"],
        rows,
        f"What was found where{_rest(len(table), 'rejected.parquet')}",
        fold=len(rows) > FEW,
    )


def _names(files: list[str | None]) -> str | None:
    """The first few names, and how many more there are."""
    names = [file for file in files if isinstance(file, str)]
    if len(names) <= MOST_NAMES + 1:
        return ", ".join(names) or None
    return f"{', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES:,} more"


def _told(found: str, action: str, code: str, advice: Mapping[str, str]) -> str:
    """What was found and done; the advice stands in the table by reason."""
    done = action.removesuffix(advice.get(code, "")).removesuffix("; ")
    return f"{found}: {done}" if done else found


def _rest(total: int, file: str) -> str:
    if total <= MOST_ROWS:
        return f" ({total:,})"
    return f" ({MOST_ROWS:,} of {total:,} shown; the other {total - MOST_ROWS:,} are in {file})"


def pictures(checked: CheckedCohort) -> Section:
    """How many slices the usable series have, and how they lie."""
    section = Section("pictures", "What the series are like")
    usable = checked.verdicts[checked.verdicts["verdict"] != "refused"]
    if usable.empty:
        section.blocks.append(Note("No series can be used.", "missing"))
        return section
    middle = usable[["slices", "slice_spacing_mm", "row_spacing_mm"]].astype(float).median()
    section.blocks += [
        Figure(
            figures_check.geometry(usable),
            f"Medians: {middle['slices']:.0f} slices, {middle['slice_spacing_mm']:.1f} mm apart, "
            f"pixels of {middle['row_spacing_mm']:.2f} mm.",
            "Series by number of slices, distance of slices, pixel size and tilt, a colour a kind "
            "of series; where a series makes several volumes, the geometry is that of the one "
            "with most slices. A bar far from the others is worth a look before training.",
        ),
        Figure(
            figures_check.sizes(usable),
            f"{len(usable[['rows', 'cols']].drop_duplicates())} matrix sizes.",
            "Series by matrix size (rows × columns), the most frequent first.",
        ),
    ]
    return section


def rules(checked: CheckedCohort) -> Section:
    """The limits that were applied."""
    section = Section("rules", "Limits that were applied")
    rows = [[key, value] for key, value in checked.settings.items()]
    text = "The convert block of the configuration; docs/refusals.md says what each does."
    section.blocks.append(Table(["Key", "Value"], rows, text))
    return section


def write_page(path: str, checked: CheckedCohort, cohort: str) -> None:
    """Write one self-contained HTML page to ``path``; every text on it is escaped."""
    line = headline(checked)
    sections = [part(checked) for part in (verdict, reasons, losses)]
    if checked.annotations is not None:
        sections.append(annotations(checked.annotations))
    write_sections(
        path,
        [*sections, pictures(checked), rules(checked)],
        title=f"spinegrade check: {cohort}",
        lead=line,
        rule="check_cohort",
    )
    _LOGGER.info("%s", line)
    if checked.annotations is not None:
        _LOGGER.info("%s", annotations_line(checked.annotations))
        if checked.annotations.differing:
            _LOGGER.info("%s", frames_line(checked.annotations))
