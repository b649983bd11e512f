"""The page of the one-stage system: grades, points, the flip, training, points on slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from spinegrade.report import figures_flips, figures_quality
from spinegrade.report.captions import caption
from spinegrade.report.figures_score import PART_WORDS
from spinegrade.report.overlays import study_slices
from spinegrade.report.parts import Card, Cards, Figure, Note, Section, Table
from spinegrade.report.points import spread
from spinegrade.report.render import write_sections
from spinegrade.volumes import Stack

PARTS = ("foraminal", "spinal", "any_severe")
LOOKS_WORDS = {"final": "as configured", "plain": "without left/right TTA"}


@dataclass(frozen=True)
class Network:
    """What is known of one network.

    ``summary``: its validation.json; ``errors``: its point errors (all looks); ``histories``: by
    fold; ``keypoints``: its keypoints table.
    """

    summary: dict[str, Any]
    errors: pd.DataFrame
    histories: dict[int, pd.DataFrame]
    keypoints: pd.DataFrame

    @property
    def final(self) -> pd.DataFrame:
        """The point errors of the final predictions."""
        return self.errors[self.errors["looks"] == "final"]


@dataclass(frozen=True)
class OneStageRun:
    """Everything on the page. ``flips``: the comparisons of bugged with fixed networks."""

    networks: Mapping[str, Network]
    score: dict[str, Any]
    flips: list[dict[str, Any]]
    stacks: Mapping[tuple[str, str, int], Stack]
    landmarks: pd.DataFrame
    examples: int


def _interval(found: Mapping[str, Any] | None) -> str | None:
    if found is None:
        return None
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def grades(run: OneStageRun) -> Section:
    """Losses of each network, with and without test-time augmentation, pooled and by fold."""
    section = Section("grades", "Grades, out of fold")
    rows, folds = [], []
    for name, network in run.networks.items():
        for looks, found in network.summary["grades"].items():
            if found is None:
                continue
            for part in (part for part in PARTS if part in found["pooled"]):
                pooled = found["pooled"][part]
                head = [name, LOOKS_WORDS[looks], PART_WORDS[part]]
                ratio = pooled.get("ratio_to_floor")
                prior = run.score["prior"][part] if run.score["scored"] else None
                counted = f"{found['cells']} of {found['cells'] + found['unpredicted_cells']}"
                rows.append([*head, counted, _interval(pooled), _number(prior), _number(ratio)])
                folds += [
                    [*head, fold, _number(figures[part])]
                    for fold, figures in found["folds"].items()
                ]
    heads = ["Network", "Predicted", "Part"]
    section.blocks += [
        Table(
            [*heads, "Cells", "Weighted log loss", "The prior's", "Times the floor"],
            rows,
            "Each part is the competition's: a weighted log loss over the cells that the network "
            "predicts, with its 95 % interval over studies. The floor is known of phantoms alone.",
        ),
        Table([*heads, "Fold", "Weighted log loss"], folds, "The same by fold.", fold=True),
    ]
    picked = [n for n, network in run.networks.items() if network.summary["chosen_on_validation"]]
    if picked:
        text = (
            f"The epochs of {', '.join(picked)} were picked on the fold that is scored "
            "(select: published): their figures are better than new studies will see."
        )
        section.blocks.append(Note(text, "warning"))
    return section


def ensemble(run: OneStageRun) -> Section:
    """The networks together: equal weights and fitted ones."""
    section = Section("ensemble", "The networks together")
    score = run.score
    if not score["scored"]:
        section.blocks.append(Note(f"There is no score: {score['reason']}.", "missing"))
        return section
    words = {
        "prior": "the prior",
        **{name: f"{name} alone" for name in score["classifiers"]},
        "equal_weights": "equal weights",
        "ensemble": "fitted weights, cross-fitted",
        "ensemble_in_sample": "fitted weights, in sample",
    }
    found = {**score["classifiers"], **{key: score.get(key) for key in words if key in score}}
    rows = [
        [text, *(_number(found[key][part]) for part in PARTS), _number(found[key]["total"])]
        for key, text in words.items()
        if found.get(key)
    ]
    section.blocks += [
        Cards(
            [
                Card(
                    PART_WORDS[part],
                    _number(score["ensemble"][part]) or "-",
                    f"the prior: {score['prior'][part]:.3f}",
                )
                for part in PARTS
            ]
        ),
        Table(
            ["", *(PART_WORDS[part] for part in PARTS), "Score"],
            rows,
            "On every labelled cell of every study; what no network grades (subarticular "
            "stenosis) is the prior's, so the score in the last column is not that of a whole "
            "system. In-sample weights have seen the labels that they are scored on.",
        ),
    ]
    return section


def points(run: OneStageRun) -> Section:
    """How far points lie from the annotated ones."""
    section = Section("points", "Points, out of fold")
    tables = [
        network.final.assign(detector=name)
        for name, network in run.networks.items()
        if len(network.final)
    ]
    if not tables:
        section.blocks.append(Note("No point can be measured.", "missing"))
        return section
    errors = pd.concat(tables, ignore_index=True)
    typical = errors[errors["anatomy"].isin(("typical", "unknown"))]
    if len(typical):
        section.blocks.append(
            Figure(
                figures_quality.keypoint_error(typical),
                f"Median distance {typical['error_mm'].median():.1f} mm.",
                caption("keypoints", reference="the annotated point"),
            )
        )
    rows, pixels = [], []
    for name, network in run.networks.items():
        for looks, found in network.summary["points"].items():
            parts = {} if found is None else {"all": found["pooled"], **(found["anatomy"] or {})}
            for anatomy, figures in parts.items():
                head = [name, LOOKS_WORDS[looks], anatomy, figures["points"]]
                shares = ("within_6_mm", "slice_within_1", "level_shift_studies", "side_confusion")
                shown = [_percent(figures[key]) for key in shares]
                rows.append([*head, *shown, _number(figures["drift_slices"])])
                within = figures["within_px"]
                heights = [_percent(within[limit]["y"]) for limit in ("1", "2", "5")]
                pixels.append([*head, *heights, _percent(within["2"]["both"])])
    heads = ["Network", "Predicted", "Anatomy", "Points"]
    section.blocks += [
        Table(
            [
                *heads,
                "Within 6 mm",
                "Slice within 1",
                "Studies shifted",
                "On the other side",
                "Drift",
            ],
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


def flips(run: OneStageRun) -> Section:
    """What the submitted models' flip costs."""
    section = Section("flips", "The cost of a flip that exchanges no sides")
    if not run.flips:
        text = "No pair of networks differs in flip alone: configure one bugged and one fixed."
        section.blocks.append(Note(text, "missing"))
        return section
    section.blocks.append(Note(caption("flips")))
    for one in run.flips:
        names, figures = one["networks"], one["bugged_minus_fixed"]
        section.blocks.append(Note(f"{names['bugged']} against {names['fixed']}", "heading"))
        rows = [
            [
                figures_flips.OUTCOME_WORDS[key],
                _number(found["first"]),
                _number(found["second"]),
                _interval(found["difference"]),
                found["studies"],
            ]
            for key, found in figures.items()
        ]
        section.blocks.append(
            Figure(
                figures_flips.differences(figures),
                "; ".join(f"{row[0]} {row[3]}" for row in rows),
                caption("flip_differences"),
            )
        )
        errors = {kind: run.networks[names[kind]].final for kind in ("bugged", "fixed")}
        if "drift_slices" in figures:
            section.blocks.append(
                Figure(
                    figures_flips.across_slices(errors),
                    f"Mean drift {figures['drift_slices']['first']:.2f} slices with the fault, "
                    f"{figures['drift_slices']['second']:.2f} without.",
                    caption("flip_slices"),
                )
            )
        heads = ["", "Bugged", "Fixed", "Difference, 95 % interval", "Studies"]
        section.blocks.append(Table(heads, rows, "Means over points and cells, paired by study."))
    return section


def training(run: OneStageRun) -> Section:
    """Training curves of the networks."""
    section = Section("training", "Training curves")
    histories = {name: network.histories for name, network in run.networks.items()}
    section.blocks.append(
        Figure(
            figures_quality.training(histories),
            f"Loss by epoch of {', '.join(histories)}.",
            caption("training", "finish"),
        )
    )
    return section


def overlays(run: OneStageRun) -> Section:
    """Points over the slices of the best, median and worst studies of each network."""
    section = Section("overlays", "Points on the slices")
    section.blocks.append(Note(caption("overlays")))
    for name, network in run.networks.items():
        by_study = network.final.groupby("study")["error_mm"].median()
        target = set(network.keypoints["condition"])
        landmarks = run.landmarks[run.landmarks["condition"].isin(target)]
        for word, study in spread(by_study, run.examples):
            heading = f"{name}, study {study}: {word} ({by_study[study]:.1f} mm median)"
            stacks = dict(run.stacks)
            section.blocks.append(
                study_slices(heading, study, stacks, landmarks, network.keypoints)
            )
    return section


def write_page(path: str, run: OneStageRun, cohort: str) -> None:
    """Write one self-contained HTML page to ``path``."""
    write_sections(
        path,
        [part(run) for part in (grades, ensemble, points, flips, training, overlays)],
        title=f"spinegrade one stage: {cohort}",
        lead="Networks that find the points of a series and grade them at once. Left and right are "
        "the patient's, always. For research, not for diagnosis.",
        rule="write_one_stage_report",
    )
