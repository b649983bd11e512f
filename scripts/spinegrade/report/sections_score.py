"""Sections on the score: the headline, parts and levels, calibration, findings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.metrics.bootstrap import Comparison, Interval, bootstrap_score, compare
from spinegrade.metrics.cells import KEY, LabelledCells, match
from spinegrade.metrics.reliability import calibration_curve, calibration_error, level_table
from spinegrade.metrics.rsna2024 import PARTS
from spinegrade.regions.lumbar_mri import GRADE_WEIGHTS, GRADES, LUMBAR_MRI
from spinegrade.report import figures_quality, figures_score
from spinegrade.report.captions import caption
from spinegrade.report.data import Options, RunData
from spinegrade.report.findings import count_prior_alone, prior_alone, study_findings
from spinegrade.report.parts import Card, Cards, Figure, Note, Section, Table
from spinegrade.report.style import CONDITION_WORDS, level_word


@dataclass(frozen=True)
class Scored:
    """The labelled cells with this run's and the prior's probabilities, and their scores.

    ``floor``: the four parts and the total that a phantom's true probabilities reach on these
    labels, or None.
    """

    cells: LabelledCells
    run_values: NDArray[np.float64]
    prior_values: NDArray[np.float64]
    run: dict[str, Interval]
    prior: dict[str, Interval]
    compared: Comparison
    floor: dict[str, float] | None


def score_run(data: RunData, options: Options) -> Scored | str:
    """Scores with intervals; or, where no score exists, a sentence that says why."""
    if not data.score["scored"]:
        return f"No score: {data.score['reason']}."
    cells, (run, prior) = match(LUMBAR_MRI, data.labels, data.probabilities, data.prior)
    # The same resamples as score.json's, so that the two never disagree.
    seed, resamples = options.seed, int(data.score["bootstrap_resamples"])
    floor = data.score["floor"]
    return Scored(
        cells,
        run,
        prior,
        bootstrap_score(cells, run, resamples, seed),
        bootstrap_score(cells, prior, resamples, seed),
        compare(cells, run, prior, resamples, seed),
        None if floor is None else floor["realised"],
    )


FEW_STUDIES = 10
"""With fewer scored studies than this an interval by study says little."""


def _range(interval: Interval, studies: int) -> str:
    if studies == 1:
        return "one study: no interval"
    return f"95 % interval {interval.low:.3f} to {interval.high:.3f}"


def headline(data: RunData, scored: Scored | str) -> Section:
    """The score against prior and floor, what it means, and what was counted."""
    section = Section("score", "The score")
    stacks = data.stacks.values()
    folds = data.probabilities.drop_duplicates("study")["fold"].dropna()
    counts = [
        Card("Training studies", str(len(folds)), f"in {folds.nunique()} folds"),
        Card("New studies", str(len(data.new_studies)), "in no fold"),
        Card("Volumes", str(len(stacks)), f"{sum(s.slices for s in stacks):,} slices"),
        Card(
            "Labelled cells", f"{int(data.labels['grade'].notna().sum()):,}", "graded by the rater"
        ),
        _prior_alone(data),
    ]
    if isinstance(scored, str):
        section.blocks += [Note(scored, "missing"), Cards(counts)]
        return section
    studies = len(scored.cells.studies)
    run, prior, ratio = scored.run["total"], scored.prior["total"], scored.compared.ratio
    cards = [
        Card("Score", f"{run.value:.3f}", _range(run, studies)),
        Card("Prior", f"{prior.value:.3f}", _range(prior, studies)),
        Card("Score / prior", f"{ratio.value:.3f}", _range(ratio, studies)),
    ]
    names = ["headline"]
    floor = scored.floor
    if floor is not None:
        share = (prior.value - run.value) / (prior.value - floor["total"])
        cards.append(Card("Floor", f"{floor['total']:.3f}", f"{share:.0%} of the way from prior"))
        names.append("headline_floor")
    section.blocks += [
        Cards(cards),
        Note(_meaning(scored)),
        Figure(
            figures_score.headline(run, prior, floor["total"] if floor else None),
            f"Score {run.value:.3f}, prior {prior.value:.3f}"
            + (f", floor {floor['total']:.3f}." if floor else "."),
            caption(*names, resamples=scored.compared.resamples),
        ),
        Cards(counts),
    ]
    return section


def _prior_alone(data: RunData) -> Card:
    """Cells that no member speaks for, and how many of them the score counts."""
    table = data.probabilities
    alone = table.loc[prior_alone(table), KEY]
    labelled = alone.merge(data.labels[data.labels["grade"].notna()], on=KEY)
    detail = f"of {len(table):,}; {len(labelled):,} of them are labelled"
    return Card("Cells of the prior alone", f"{len(alone):,}", detail)


def _meaning(scored: Scored) -> str:
    run, ratio = scored.run["total"].value, scored.compared.ratio
    if len(scored.cells.studies) < FEW_STUDIES:
        verdict = "hard to tell from the prior: too few have labels for a verdict"
    elif ratio.high < 1.0:
        verdict = "better than the prior: the whole interval of their ratio lies below 1"
    elif ratio.low > 1.0:
        verdict = "worse than the prior: the whole interval of their ratio lies above 1"
    else:
        verdict = "not told apart from the prior by these studies"
    return (
        f"The score, {run:.3f}, is the mean penalty for how little probability the run gave to the "
        "grades that the rater chose; severe cells count four times, moderate ones twice. Zero is "
        "perfect; equal probabilities everywhere score about 1. The prior knows how often each "
        "grade occurs at each level, but looks at no picture. Every study was graded by "
        f"models that never saw it. On these studies the run is {verdict}."
    )


def parts_and_levels(data: RunData, scored: Scored | str) -> Section:
    """Score by part, condition and level."""
    section = Section("levels", "Conditions and levels")
    if isinstance(scored, str):
        section.blocks.append(Note(scored, "missing"))
        return section
    floor_table = _floor_levels(data, scored)
    run = level_table(scored.cells, scored.run_values)
    prior = level_table(scored.cells, scored.prior_values)
    section.blocks += [
        Figure(
            figures_score.parts(scored.run, scored.prior, scored.floor),
            "Parts of the score: "
            + ", ".join(
                f"{figures_score.PART_WORDS[p]} {scored.run[p].value:.3f} against "
                f"{scored.prior[p].value:.3f}"
                for p in PARTS
            ),
            caption("parts"),
        ),
        Figure(
            figures_score.levels(run, prior, floor_table),
            "Weighted log loss by condition and level; the table below holds the numbers.",
            caption("levels", *([] if floor_table is None else ["levels_floor"])),
        ),
        _level_rows(run, prior, floor_table),
        _members(data, scored),
    ]
    return section


def _floor_levels(data: RunData, scored: Scored) -> pd.DataFrame | None:
    if data.truth is None:
        return None
    _, (true,) = match(LUMBAR_MRI, data.labels, data.truth)
    best = true * np.asarray(GRADE_WEIGHTS)
    return level_table(scored.cells, best / best.sum(axis=1, keepdims=True))


def _members(data: RunData, scored: Scored) -> Table:
    """Scores of the run, of each grader alone and of the prior, by part."""
    rows = [("this run", {part: interval.value for part, interval in scored.run.items()})]
    rows += [(f"{name} alone", parts) for name, parts in data.score["classifiers"].items()]
    rows.append(("prior", {part: interval.value for part, interval in scored.prior.items()}))
    if scored.floor is not None:
        rows.append(("floor", scored.floor))
    parts = list(figures_score.PART_WORDS)
    return Table(
        ["", *figures_score.PART_WORDS.values()],
        [[name, *(f"{values[part]:.3f}" for part in parts)] for name, values in rows],
        "The score and its parts. A grader alone takes the prior where it has no prediction.",
    )


def _level_rows(run: pd.DataFrame, prior: pd.DataFrame, floor: pd.DataFrame | None) -> Table:
    rows = []
    for place, row in run.iterrows():
        level = "all levels" if row["level"] == "all" else level_word(row["level"])
        values = [f"{table['log_loss'][place]:.3f}" for table in (run, prior)]
        if floor is not None:
            values.append(f"{floor['log_loss'][place]:.3f}")
        ratio = f"{run['log_loss'][place] / prior['log_loss'][place]:.2f}"
        counts = [row[name] for name in ("normal_mild", "moderate", "severe")]
        rows.append([CONDITION_WORDS[row["condition"]], level, *counts, *values, ratio])
    heads = ["Condition", "Level", "Normal or mild", "Moderate", "Severe", "This run", "Prior"]
    heads += [*([] if floor is None else ["Floor"]), "Run / prior"]
    return Table(heads, rows, "Labelled cells by grade, and weighted log loss by level.", fold=True)


def calibration(scored: Scored | str) -> Section:
    """Reliability and confusion by condition."""
    section = Section("calibration", "Reliability and confusion")
    if isinstance(scored, str):
        section.blocks.append(Note(scored, "missing"))
        return section
    errors = [
        f"{CONDITION_WORDS[condition]} "
        + f"{np.mean([_error(scored, condition, grade) for grade in GRADES]):.3f}"
        for condition in CONDITION_WORDS
    ]
    section.blocks += [
        Figure(
            figures_quality.reliability(scored.cells, scored.run_values),
            f"Reliability; mean gap between predicted and observed: {', '.join(errors)}.",
            caption("reliability"),
        ),
        Note(f"Mean gap between predicted and observed shares: {', '.join(errors)}."),
        Figure(
            figures_quality.confusions(scored.cells, scored.run_values),
            "Confusion of true and likeliest grades, one square table a condition.",
            caption("confusion"),
        ),
    ]
    return section


def _error(scored: Scored, condition: str, grade: int) -> float:
    return calibration_error(
        calibration_curve(scored.cells, scored.run_values, grade, condition, weighted=True)
    )


def findings(data: RunData, options: Options) -> Section:
    """Grades of the studies that no fold holds."""
    section = Section("findings", "Findings of the new studies")
    shown = data.new_studies[: options.findings]
    if not data.new_studies:
        section.blocks.append(Note("There are no new studies in this cohort.", "missing"))
        return section
    section.blocks.append(Note(caption("findings")))
    if len(shown) < len(data.new_studies):
        section.blocks.append(
            Note(
                f"The first {len(shown)} of {len(data.new_studies)} new studies are shown "
                "(report.findings in the configuration); the rest are in probabilities.parquet.",
                "missing",
            )
        )
    table = data.probabilities[data.probabilities["study"].isin(data.new_studies)]
    alone = table[prior_alone(table)]
    if len(alone):
        section.blocks.append(
            Note(
                f"{len(alone):,} of {len(table):,} cells in {alone['study'].nunique():,} of "
                f"{len(data.new_studies):,} new studies are no findings: no member speaks for "
                f"them, and they hold the prior ({count_prior_alone(table)}). filled.csv names "
                "each.",
                "warning",
            )
        )
    lacking = data.lacking
    for study, rows in table[table["study"].isin(shown)].groupby("study", sort=True):
        section.blocks.append(study_findings(str(study), rows, lacking.get(str(study), {})))
    return section
