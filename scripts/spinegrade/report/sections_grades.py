"""Sections of a system's page that tell of grades: the blend, its members, published faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinegrade.report import figures_faults
from spinegrade.report.captions import caption
from spinegrade.report.figures_score import PART_WORDS
from spinegrade.report.parts import Card, Cards, Figure, Note, Section, Table
from spinegrade.report.style import CONDITION_WORDS
from spinegrade.report.system import SystemRun
from spinegrade.report.wording import difference, interval, number

LOOKS_WORDS = {"final": "as configured", "plain": "seen once"}


def grades(run: SystemRun) -> Section:
    """The blend of all, of each family, and each grader alone."""
    section = Section("grades", "Grades, out of fold")
    score = run.score
    if not score["scored"]:
        section.blocks.append(Note(f"There is no score: {score['reason']}.", "missing"))
        return section
    cards = [
        Card("Score", f"{score['ensemble']['total']:.3f}", "fitted weights, cross-fitted"),
        Card("Prior", f"{score['prior']['total']:.3f}", "no picture is looked at"),
    ]
    if score["floor"] is not None:
        realised = score["floor"]["realised"]["total"]
        ratio = score["floor"]["ratio_to_realised"]
        cards.append(Card("Times the floor", f"{ratio:.2f}", f"{realised:.3f}"))
    compared = run.comparison if run.comparison and run.comparison["scored"] else None
    lines = {
        "the prior": score["prior"],
        **{f"{name} alone": found for name, found in score["classifiers"].items()},
        **{
            f"family {name}: {', '.join(run.families[name])}": found["score"]
            for name, found in (compared["parts"] if compared else {}).items()
        },
        "equal weights": score["equal_weights"],
        "fitted weights, cross-fitted": score["ensemble"],
        "fitted weights, in sample": score["ensemble_in_sample"],
    }
    rows = [
        [text, *(number(found[part]) for part in PART_WORDS), number(found["total"])]
        for text, found in lines.items()
        if found is not None
    ]
    text = (
        "On every labelled cell of every study; where a grader has no answer the prior stands in, "
        "also for the conditions that no grader of the system grades. In-sample weights have seen "
        "the labels that they are scored on."
    )
    section.blocks += [Cards(cards), Table(["", *PART_WORDS.values(), "Score"], rows, text)]
    if compared:
        rows = [
            [f"all minus {name}", difference(found["whole_minus_part"])]
            for name, found in compared["parts"].items()
        ]
        text = (
            f"Paired bootstrap over {compared['studies']} studies, 95 % interval; below zero the "
            "blend of all families is better than the one family's own."
        )
        section.blocks.append(Table(["", "Difference of scores"], rows, text))
    return section


def members(run: SystemRun) -> Section:
    """Weights, what was pruned, and what each member adds."""
    section = Section("members", "What each member adds")
    parts = run.weights.get("all_folds", {})
    names = sorted({name for part in parts.values() for name in part["weights"]})
    rows = [
        [name, *(_weight(parts.get(condition), name) for condition in CONDITION_WORDS)]
        for name in names
    ]
    text = (
        "Weights fitted on all folds, as they are applied to new studies. A dash: the member does "
        "not grade that condition; pruned: its weight was too small to keep."
    )
    section.blocks.append(Table(["Member", *CONDITION_WORDS.values()], rows, text))
    left_out = run.score.get("leave_one_out") if run.score["scored"] else None
    if left_out:
        rows = [
            [name, number(found["score"]["total"]), difference(found["difference"])]
            for name, found in left_out.items()
        ]
        text = (
            "The blend fitted again without one member, cross-fitted; below zero the member helps."
        )
        section.blocks.append(Table(["Without", "Score", "All minus that"], rows, text))
    return section


def _weight(part: Mapping[str, Any] | None, name: str) -> str | None:
    if part is None or name not in part["weights"]:
        return None
    return "pruned" if name in part.get("pruned", []) else f"{part['weights'][name]:.3f}"


def each_grader(run: SystemRun) -> Section:
    """Losses over the cells that a grader predicts, by looks and fold."""
    section = Section("graders", "Each grader on the cells that it predicts")
    rows, folds = [], []
    for name, validation in run.validations.items():
        for looks, found in validation["grades"].items():
            for part, pooled in (found["pooled"] if found else {}).items():
                head = [name, LOOKS_WORDS[looks], PART_WORDS[part]]
                prior = run.score["prior"][part] if run.score["scored"] else None
                counted = f"{found['cells']} of {found['cells'] + found['unpredicted_cells']}"
                figures = [interval(pooled), number(prior), number(pooled.get("ratio_to_floor"))]
                rows.append([*head, counted, *figures])
                folds += [
                    [*head, fold, number(of_fold[part])] for fold, of_fold in found["folds"].items()
                ]
    heads = ["Grader", "Predicted", "Part"]
    section.blocks += [
        Table(
            [*heads, "Cells", "Weighted log loss", "The prior's", "Times the floor"],
            rows,
            "Each part is the competition's: a weighted log loss over the cells that the grader "
            "predicts, with its 95 % interval over studies. The floor is known of phantoms alone.",
        ),
        Table([*heads, "Fold", "Weighted log loss"], folds, "The same by fold.", fold=True),
    ]
    picked = [n for n, found in run.validations.items() if found["chosen_on_validation"]]
    if picked:
        text = (
            f"The epochs of {', '.join(picked)} were chosen on the fold that is scored "
            "(select: published): their figures are better than new studies will see."
        )
        section.blocks.append(Note(text, "warning"))
    return section


def faults(run: SystemRun) -> Section:
    """What a published fault costs: two graders that differ in it alone, paired by study."""
    section = Section("faults", "What a published fault costs")
    section.blocks.append(Note(caption("flips")))
    for one in run.faults:
        names, figures = one["networks"], one["bugged_minus_fixed"]
        section.blocks.append(Note(f"{names['bugged']} against {names['fixed']}", "heading"))
        rows = [
            [
                figures_faults.OUTCOME_WORDS[key],
                number(found["first"]),
                number(found["second"]),
                interval(found["difference"]),
                found["studies"],
            ]
            for key, found in figures.items()
        ]
        section.blocks.append(
            Figure(
                figures_faults.differences(figures),
                "; ".join(f"{row[0]} {row[3]}" for row in rows),
                caption("flip_differences"),
            )
        )
        if "drift_slices" in figures:
            errors = {
                kind: run.point_errors[run.point_errors["detector"] == names[kind]]
                for kind in ("bugged", "fixed")
            }
            section.blocks.append(
                Figure(
                    figures_faults.across_slices(errors),
                    f"Mean drift {figures['drift_slices']['first']:.2f} slices with the fault, "
                    f"{figures['drift_slices']['second']:.2f} without.",
                    caption("flip_slices"),
                )
            )
        heads = ["", "With the fault", "Mended", "Difference, 95 % interval", "Studies"]
        section.blocks.append(Table(heads, rows, "Means over points and cells, paired by study."))
    return section
