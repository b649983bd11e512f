"""Sections of a system's page that tell of points: those who find them side by side, on slices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinegrade.report import figures_quality
from spinegrade.report.captions import caption
from spinegrade.report.detectors import compare_detectors
from spinegrade.report.overlays import study_slices
from spinegrade.report.parts import Figure, Note, Section, Table
from spinegrade.report.points import spread
from spinegrade.report.sections_grades import LOOKS_WORDS
from spinegrade.report.style import CONDITION_WORDS
from spinegrade.report.system import SystemRun
from spinegrade.report.wording import number, percent


def detectors(run: SystemRun) -> Section:
    """All that find points of a condition, on the same points."""
    section = Section("detectors", "Points side by side, out of fold")
    table = compare_detectors(run.point_errors, run.landmarks, run.anatomy)
    if table.empty:
        section.blocks.append(Note("No point can be measured.", "missing"))
        return section
    for condition, part in table.groupby("condition", sort=False):
        section.blocks.append(Note(CONDITION_WORDS[condition], "heading"))
        errors = run.point_errors[run.point_errors["condition"] == condition]
        section.blocks.append(
            Figure(
                figures_quality.keypoint_error(errors),
                f"Median distance {errors['error_mm'].median():.1f} mm.",
                caption("keypoints", reference="the annotated point"),
            )
        )
        heads = ["Learner", "Anatomy", "Coverage", "Points", "Median (mm)", "In plane (mm, px)"]
        heads += ["Within 6 mm", "Slice exact", "Within 1", "Side right", "Shifted"]
        shares = ("within_6_mm", "slice_exact", "slice_within_1", "side_right")
        rows = [
            [
                *(row["detector"], row["anatomy"].replace("_", " ")),
                *(percent(row["coverage"]), row["points"]),
                *_medians(row),
                *(percent(row[share]) for share in shares),
                _shifted(row),
            ]
            for row in part.to_dict("records")
        ]
        section.blocks.append(
            Table(
                heads,
                rows,
                "Coverage: annotated points that were found at all. All else is over the points "
                "that everyone found: medians of the distance in the patient and in the slice; "
                "shifted: the share of points that lie nearer to another level's, and of studies "
                "with such a point.",
            )
        )
    return section


def _medians(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    if not row["points"]:
        return None, None
    in_plane = f"{row['median_in_plane_mm']:.1f}, {row['median_in_plane_px']:.1f}"
    return f"{row['median_mm']:.1f}", in_plane


def _shifted(row: Mapping[str, Any]) -> str | None:
    if not row["points"]:
        return None
    return f"{row['shifted_points']:.1%}, {row['shifted_studies']:.1%}"


def grader_points(run: SystemRun) -> Section:
    """The points of graders that find points too, by their looks, also in px of their heatmaps."""
    section = Section("points", "Points of the graders")
    rows, pixels = [], []
    for name, validation in run.validations.items():
        for looks, found in validation["points"].items():
            parts = {} if found is None else {"all": found["pooled"], **(found["anatomy"] or {})}
            for anatomy, figures in parts.items():
                head = [name, LOOKS_WORDS[looks], anatomy, figures["points"]]
                shares = ("within_6_mm", "slice_within_1", "level_shift_studies", "side_confusion")
                shown = [percent(figures[key]) for key in shares]
                rows.append([*head, *shown, number(figures["drift_slices"])])
                within = figures["within_px"]
                heights = [percent(within[limit]["y"]) for limit in ("1", "2", "5")]
                pixels.append([*head, *heights, percent(within["2"]["both"])])
    heads = ["Grader", "Predicted", "Anatomy", "Points"]
    shown = ["Within 6 mm", "Slice within 1", "Studies shifted", "On the other side", "Drift"]
    section.blocks += [
        Table(
            [*heads, *shown],
            rows,
            "Against the annotated points. Shifted studies have a point nearer to another level's, "
            "drift is towards the other side, in slices. Transitional anatomies have four or six "
            "lumbar vertebrae.",
        ),
        Table(
            [*heads, "Height within 1 px", "2 px", "5 px", "Both within 2 px"],
            pixels,
            "The same in pixels of the heatmaps, four image pixels a side, as published.",
            fold=True,
        ),
    ]
    return section


def overlays(run: SystemRun) -> Section:
    """Points over the slices of the best, median and worst studies of each grader."""
    section = Section("overlays", "Points on the slices")
    section.blocks.append(Note(caption("overlays")))
    for name, keypoints in run.keypoints.items():
        errors = run.point_errors[run.point_errors["detector"] == name]
        by_study = errors.groupby("study")["error_mm"].median()
        landmarks = run.landmarks[run.landmarks["condition"].isin(set(keypoints["condition"]))]
        for word, study in spread(by_study, run.examples):
            heading = f"{name}, study {study}: {word} ({by_study[study]:.1f} mm median)"
            block = study_slices(heading, study, dict(run.stacks), landmarks, keypoints)
            section.blocks.append(block)
    return section
