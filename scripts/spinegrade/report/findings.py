"""The findings of new studies: which level, which side, how severe, with probabilities.

A cell that no member speaks for holds the prior. It is no finding, and is shown as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.regions.lumbar_mri import CONDITIONS, GRADE_WEIGHTS, LUMBAR_LEVELS, SPINAL
from spinegrade.report.parts import Finding, Findings
from spinegrade.report.style import CONDITION_WORDS, GRADE_WORDS, cell_word, level_word
from spinegrade.tables.prediction_columns import PROBABILITY_COLUMNS

COLUMNS = tuple(
    (condition, side)
    for condition in CONDITIONS
    for side in (("central",) if condition == SPINAL else ("right", "left"))
)


def plain_probabilities(weighted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (n, 3) with the score's sample weights 1, 2, 4 divided out.

    The score is least for predictions proportional to weight times probability; what a reader
    of a finding wants is the probability itself.
    """
    plain = np.asarray(weighted, float) / np.asarray(GRADE_WEIGHTS)
    return plain / plain.sum(axis=1, keepdims=True)


def _percent(probabilities: NDArray[np.float64]) -> tuple[int, int, int]:
    """Whole percents that sum to 100, by largest remainder."""
    exact = probabilities * 100.0
    whole = np.floor(exact).astype(int)
    for place in np.argsort(whole - exact, kind="stable")[: 100 - int(whole.sum())]:
        whole[place] += 1
    return int(whole[0]), int(whole[1]), int(whole[2])


MOSTLY_PRIOR = 0.5
"""From this share of the weights on, the prior's part in a number is said beside it."""
NOT_SEEN = "prior: not from this patient's images"


def prior_alone(table: pd.DataFrame) -> pd.Series:
    """Which rows of a probabilities table (n,) hold the prior and nothing else."""
    return table["source"] == "prior"


def count_prior_alone(table: pd.DataFrame) -> str:
    """The number of such cells by condition, in words: "spinal canal stenosis 5 of 5, ..."."""
    alone = prior_alone(table)
    counts = []
    for condition in CONDITIONS:
        chosen = table["condition"] == condition
        if (alone & chosen).any():
            name = CONDITION_WORDS[condition].lower()
            counts.append(f"{name} {(alone & chosen).sum()} of {chosen.sum()}")
    return ", ".join(counts)


def _in_words(cells: list[tuple[int, float, str, str]], total: int) -> str:
    if not cells:
        return "No finding: no member speaks for any cell of this study."
    found = []
    for grade in (2, 1):
        places = [(p, where, note) for g, p, where, note in cells if g == grade]
        if places:
            listed = ", ".join(
                f"{where} ({p:.0%}{', ' if note else ''}{note})"
                for p, where, note in sorted(places, reverse=True)
            )
            found.append(f"Likely {GRADE_WORDS[grade]}: {listed}.")
    if found:
        return " ".join(found)
    if len(cells) == total:
        return "Every cell is most likely normal or mild."
    return f"The {len(cells)} cells that members speak for are most likely normal or mild."


def _note(row: Mapping[str, Any], lacking: str) -> str:
    """What a reader must know of where a cell's number comes from; often nothing."""
    if row["source"] == "prior":
        return NOT_SEEN
    notes = ["outside table"] if row["source"] == "outside" else []
    if lacking:
        notes.append(f"without {lacking.replace(',', ', ')}")
    if lacking or row["prior_weight"] >= MOSTLY_PRIOR:
        # Rounded down: 100 % is said of no cell that a member speaks for.
        notes.append(f"the prior weighs {int(row['prior_weight'] * 100)} %")
    return ", ".join(notes)


def study_findings(
    study: str, table: pd.DataFrame, lacking: Mapping[tuple[str, str, str], str]
) -> Findings:
    """The findings of one study from its rows of the probabilities table.

    ``lacking``: by (condition, level, side) the members without a row of the cell that grade its
    condition elsewhere; cells that all have may be left out. Cells of the prior alone are no
    findings: they stay out of the sentence and are counted.
    """
    plain = plain_probabilities(table[list(PROBABILITY_COLUMNS)].to_numpy(float))
    by_cell: dict[tuple[str, str, str], Finding] = {}
    told = []
    for row, values in zip(table.to_dict("records"), plain, strict=True):
        grade = int(values.argmax())
        cell = row["condition"], row["level"], row["side"]
        seen, note = row["source"] != "prior", _note(row, lacking.get(cell, ""))
        members = row["members"].replace(",", ", ") or "no member"
        title = f"From {members}; the prior's weight {row['prior_weight']:.3f}"
        by_cell[cell] = Finding(grade, _percent(values), seen, note, title)
        if not seen:
            continue
        name = CONDITION_WORDS[row["condition"]].lower()
        where = f"{name} {cell_word(row['level'], row['side'])}"
        told.append((grade, float(values[grade]), where, note))
    columns = [
        CONDITION_WORDS[condition] if side == "central" else f"{CONDITION_WORDS[condition]}, {side}"
        for condition, side in COLUMNS
    ]
    rows = [
        (level_word(level), [by_cell.get((condition, level, side)) for condition, side in COLUMNS])
        for level in LUMBAR_LEVELS
    ]
    unseen = ""
    if len(told) < len(table):
        unseen = (
            f"{len(table) - len(told)} of {len(table)} cells hold the prior alone, nothing of this "
            f"patient's images: {count_prior_alone(table)}."
        )
    return Findings(study, _in_words(told, len(table)), unseen, columns, rows)
