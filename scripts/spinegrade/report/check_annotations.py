"""The part of the check's page on annotated points: what contradicts, how the numbers run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from spinegrade.annotations import codes
from spinegrade.annotations.counts import count_numbers
from spinegrade.annotations.points import add_context
from spinegrade.report.figures_annotations import points_in_space
from spinegrade.report.parts import Card, Cards, Figure, Note, Section, Table
from spinegrade.report.style import CONDITION_WORDS, cell_word

MOST_ROWS = 500
MOST_STUDIES = 6
FEW = 12  # rows of a list that is shown open
_OF_PLACE = {
    codes.SIDES_EXCHANGED,
    codes.ONE_SLICE,
    codes.LEVELS_OUT_OF_ORDER,
    codes.OFF_LINE,
    codes.SERIES_APART,
    codes.TWICE,
}


@dataclass(frozen=True)
class CheckedAnnotations:
    """Placed points, the table annotations about them, and what the frames of reference say.

    ``framed`` studies have several series that name a frame of reference, ``differing`` of them
    series with different ones. ``advice``: what to do, by code.
    """

    points: pd.DataFrame
    findings: pd.DataFrame
    framed: int
    differing: int
    advice: Mapping[str, str]


def annotations_line(checked: CheckedAnnotations) -> str:
    """The verdict on the annotated points in one line."""
    found = checked.findings
    key = ["study", "series", "condition", "level", "side", "instance_number"]
    told = len(found.drop_duplicates(key))
    gone = len(found[found["left_out"]].drop_duplicates(key))
    total = len(checked.points)
    if not told:
        return f"Annotated points: {total:,}; nothing contradicts."
    return (
        f"{told:,} of {total:,} annotated points contradict others or their images; "
        f"{gone:,} are left out of training."
    )


def annotations(checked: CheckedAnnotations) -> Section:
    """What contradicts by code and point, pictures of it, and the counts of the cohort."""
    section = Section("annotations", "Annotated points")
    if checked.points.empty:
        section.blocks.append(Note("The cohort has no annotated points.", "missing"))
        return section
    section.blocks.append(Note(annotations_line(checked)))
    section.blocks.append(_cards(checked))
    if len(checked.findings):
        section.blocks += [_by_code(checked), _listed(checked), *_pictures(checked)]
    section.blocks.append(_numbers(checked))
    if checked.differing:
        section.blocks.append(Note(frames_line(checked)))
    return section


def frames_line(checked: CheckedAnnotations) -> str:
    """In how many studies the series name different frames of reference, and what that means."""
    return (
        f"In {checked.differing:,} of {checked.framed:,} studies the series name different frames "
        "of reference. Anonymisers often give every series its own, so this alone is held "
        "against no study: where the positions of a study contradict each other, its points are "
        f"listed as {codes.SERIES_APART}."
    )


def _cards(checked: CheckedAnnotations) -> Cards:
    located = int(checked.points["x_mm"].notna().sum())
    found = checked.findings
    return Cards(
        [
            Card("Points", f"{len(checked.points):,}", f"{located:,} placed in the patient"),
            Card("Findings", f"{len(found):,}", f"in {found['series'].nunique():,} series"),
            Card("Studies concerned", f"{found['study'].nunique():,}", "see the list"),
        ]
    )


def _by_code(checked: CheckedAnnotations) -> Table:
    rows = [
        [
            str(code),
            len(part),
            int(part["left_out"].sum()),
            len(part[["study", "series"]].drop_duplicates()),
            int(part["study"].nunique()),
            checked.advice.get(str(code), "see the rows"),
        ]
        for code, part in checked.findings.groupby("code", sort=True)
    ]
    return Table(
        ["Code", "Points", "Left out", "Series", "Studies", "What to do"],
        rows,
        "Points by finding; docs/annotations.md explains the codes and the key "
        "annotations.leave_out.",
    )


def _listed(checked: CheckedAnnotations) -> Table:
    table = checked.findings
    # A share for every code: one that fills thousands of lines must not hide the others.
    rank = table.groupby("code").cumcount().sort_values(kind="stable")
    shown = table.loc[rank.index[:MOST_ROWS]].sort_index()
    rows = [
        [
            f"{row.study} / {row.series}",
            CONDITION_WORDS.get(row.condition, row.condition),
            cell_word(row.level, row.side),
            int(row.instance_number),
            row.code,
            f"{row.found}; expected: {row.expected}",
            "left out" if row.left_out else "kept",
        ]
        for row in shown.itertuples(index=False)
    ]
    rest = f"{len(table):,}"
    if len(table) > MOST_ROWS:
        rest = (
            f"{MOST_ROWS:,} of {len(table):,} shown; the other {len(table) - MOST_ROWS:,} are in "
            "annotations.parquet"
        )
    heads = ["Study / series", "Condition", "Level", "Instance", "Code", "What was found", ""]
    return Table(heads, rows, f"What was found where ({rest})", fold=len(rows) > FEW)


def _pictures(checked: CheckedAnnotations) -> list[Figure | Note]:
    """The studies with most points that contradict by their place."""
    found = checked.findings[checked.findings["code"].isin(_OF_PLACE)]
    located = add_context(checked.points)
    located = located[located["x_mm"].notna()]
    key = ["study", "series", "condition", "level", "side", "instance_number"]
    marked = pd.MultiIndex.from_frame(found[key].astype({"instance_number": "int64"}))
    found = found[marked.isin(pd.MultiIndex.from_frame(located[key]))]
    worst = found.groupby("study").size().sort_values(ascending=False, kind="stable")
    figures: list[Figure | Note] = []
    for study in worst.index[:MOST_STUDIES]:
        points = located[located["study"] == study]
        circled = pd.Series(pd.MultiIndex.from_frame(points[key]).isin(marked), points.index)
        figures.append(
            Figure(
                points_in_space(points, circled),
                f"Annotated points of study {study} in patient space.",
                f"Study {study}: its annotated points as they lie in the patient, joined from the "
                "head down; those that contradict are circled.",
            )
        )
    if len(worst) > MOST_STUDIES:
        text = f"{len(worst) - MOST_STUDIES:,} more studies have such points; see the list."
        figures.append(Note(text))
    return figures


def _numbers(checked: CheckedAnnotations) -> Table:
    counts = count_numbers(checked.points)
    rows: list[list[str | float | int | None]] = [
        [
            "Left and right recess of a level on two slices",
            counts.recess_pairs_on_two_slices,
            f"of {counts.recess_pairs:,} pairs, up to {counts.most_slices_apart} slices apart",
        ],
        [
            "Axial series whose numbers grow from head to foot",
            counts.axial_growing,
            f"of {counts.axial_series:,} series with a left recess",
        ],
        ["Axial series whose numbers fall", counts.axial_falling, "the same series"],
        ["Axial series whose numbers do neither", counts.axial_neither, "the same series"],
        [
            "T1 series whose left foramina have the greater numbers",
            counts.t1_left_greater,
            f"of {counts.t1_series:,} series with a pair of foramina",
        ],
        ["T1 series whose left foramina have the smaller ones", counts.t1_left_smaller, ""],
        ["T1 series that mix both", counts.t1_mixed, ""],
        ["T1 series with both foramina on one slice somewhere", counts.t1_one_slice, ""],
    ]
    return Table(
        ["By instance numbers", "Count", "Of"],
        rows,
        "How the numbers of this cohort run: scanners number either way, so these are counts, "
        "no faults.",
        fold=True,
    )
