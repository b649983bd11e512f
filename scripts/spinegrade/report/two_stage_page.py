"""The page of the two-stage system: grades, members, detectors side by side, training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from spinegrade.report import figures_quality
from spinegrade.report.captions import caption
from spinegrade.report.detectors import compare_detectors
from spinegrade.report.figures_score import PART_WORDS
from spinegrade.report.parts import Card, Cards, Figure, Note, Section, Table
from spinegrade.report.render import write_sections
from spinegrade.report.style import CONDITION_WORDS

PARTS = ("spinal", "foraminal", "subarticular", "any_severe")


@dataclass(frozen=True)
class TwoStageRun:
    """Everything on the page.

    ``families``: graders by family; ``score``: the whole ensemble's score.json, ``weights`` its
    weights.json; ``comparison``: the whole against each family alone, None where there is one
    family; ``errors``: those of all detectors; ``landmarks``: located; ``anatomy``: by study,
    None where it is not known; ``histories``: by grader and fold.
    """

    families: Mapping[str, list[str]]
    score: dict[str, Any]
    weights: dict[str, Any]
    comparison: dict[str, Any] | None
    errors: pd.DataFrame
    landmarks: pd.DataFrame
    anatomy: Mapping[str, str] | None
    histories: Mapping[str, dict[int, pd.DataFrame]]


def _number(value: float | None) -> str | None:
    return None if value is None or pd.isna(value) else f"{value:.3f}"


def _percent(value: float | None) -> str | None:
    return None if value is None or pd.isna(value) else f"{value:.1%}"


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def grades(run: TwoStageRun) -> Section:
    """The whole ensemble, its families and each grader alone."""
    section = Section("grades", "Grades, out of fold")
    score = run.score
    if not score["scored"]:
        section.blocks.append(Note(f"There is no score: {score['reason']}.", "missing"))
        return section
    floor = score["floor"]
    cards = [Card("Score", f"{score['ensemble']['total']:.3f}", "fitted weights, cross-fitted")]
    cards.append(Card("Prior", f"{score['prior']['total']:.3f}", "no picture is looked at"))
    if floor is not None:
        ratio = floor["ratio_to_realised"]
        cards.append(Card("Times the floor", f"{ratio:.2f}", f"{floor['realised']['total']:.3f}"))
    compared = run.comparison if run.comparison and run.comparison["scored"] else None
    lines = {
        "the prior": score["prior"],
        **{f"{name} alone": found for name, found in score["classifiers"].items()},
        **{
            f"family {name}: {', '.join(run.families[name])}": found["score"]
            for name, found in (compared["parts"] if compared else {}).items()
        },
        "all, equal weights": score["equal_weights"],
        "all, fitted weights, cross-fitted": score["ensemble"],
        "all, fitted weights, in sample": score["ensemble_in_sample"],
    }
    rows = [
        [text, *(_number(found[part]) for part in PARTS), _number(found["total"])]
        for text, found in lines.items()
        if found is not None
    ]
    section.blocks += [
        Cards(cards),
        Table(
            ["", *(PART_WORDS[part] for part in PARTS), "Score"],
            rows,
            "On every labelled cell of every study; where a grader has no answer the prior stands "
            "in. In-sample weights have seen the labels that they are scored on.",
        ),
    ]
    if compared:
        rows = [
            [f"all minus {name}", _interval(found["whole_minus_part"])]
            for name, found in compared["parts"].items()
        ]
        text = (
            f"Paired bootstrap over {compared['studies']} studies, 95 % interval; below zero the "
            "blend of all families is better than the one family's own."
        )
        section.blocks.append(Table(["", "Difference of scores"], rows, text))
    return section


def members(run: TwoStageRun) -> Section:
    """Weights, what was pruned, and what each member adds."""
    section = Section("members", "What each member adds")
    parts = run.weights.get("all_folds", {})
    names = sorted({name for part in parts.values() for name in part["weights"]})
    rows = [
        [name, *(_weight(parts.get(condition), name) for condition in CONDITION_WORDS)]
        for name in names
    ]
    section.blocks.append(
        Table(
            ["Member", *CONDITION_WORDS.values()],
            rows,
            "Weights fitted on all folds, as they are applied to new studies. A dash: the member "
            "does not grade that condition; pruned: its weight was too small to keep.",
        )
    )
    left_out = run.score.get("leave_one_out") if run.score["scored"] else None
    if left_out:
        rows = [
            [name, _number(found["score"]["total"]), _interval(found["difference"])]
            for name, found in left_out.items()
        ]
        section.blocks.append(
            Table(
                ["Without", "Score", "All minus that"],
                rows,
                "The ensemble fitted again without one member, cross-fitted; below zero the "
                "member helps.",
            )
        )
    return section


def _weight(part: Mapping[str, Any] | None, name: str) -> str | None:
    if part is None or name not in part["weights"]:
        return None
    return "pruned" if name in part.get("pruned", []) else f"{part['weights'][name]:.3f}"


def detectors(run: TwoStageRun) -> Section:
    """Every detector on the same points."""
    section = Section("detectors", "Detectors side by side, out of fold")
    table = compare_detectors(run.errors, run.landmarks, run.anatomy)
    if table.empty:
        section.blocks.append(Note("No point can be measured.", "missing"))
        return section
    for condition, part in table.groupby("condition", sort=False):
        section.blocks.append(Note(CONDITION_WORDS[condition], "heading"))
        errors = run.errors[run.errors["condition"] == condition]
        section.blocks.append(
            Figure(
                figures_quality.keypoint_error(errors),
                f"Median distance {errors['error_mm'].median():.1f} mm.",
                caption("keypoints", reference="the annotated point"),
            )
        )
        heads = ["Detector", "Anatomy", "Coverage", "Points", "Median (mm)", "In plane (mm, px)"]
        heads += ["Within 6 mm", "Slice exact", "Within 1", "Side right", "Shifted"]
        rows = [
            [
                *(row["detector"], row["anatomy"].replace("_", " ")),
                *(_percent(row["coverage"]), row["points"]),
                *_medians(row),
                *(_percent(row[what]) for what in ("within_6_mm", "slice_exact")),
                *(_percent(row[what]) for what in ("slice_within_1", "side_right")),
                _shifted(row),
            ]
            for row in part.to_dict("records")
        ]
        section.blocks.append(
            Table(
                heads,
                rows,
                "Coverage: annotated points that were found at all. All else is over the points "
                "that every detector found: medians of the distance in the patient and in the "
                "slice; shifted: the share of points that lie nearer to another level's, and of "
                "studies with such a point.",
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


def training(run: TwoStageRun) -> Section:
    """Training curves of the graders."""
    section = Section("training", "Training curves")
    section.blocks.append(
        Figure(
            figures_quality.training(run.histories),
            f"Loss by epoch of {', '.join(run.histories)}.",
            caption("training"),
        )
    )
    return section


def write_page(path: str, run: TwoStageRun, cohort: str) -> None:
    """Write one self-contained HTML page to ``path``."""
    write_sections(
        path,
        [part(run) for part in (grades, members, detectors, training)],
        title=f"spinegrade two stages: {cohort}",
        lead="Detectors find points, graders grade the crops around them. Left and right are the "
        "patient's, always. For research, not for diagnosis.",
        rule="write_two_stage_report",
    )
