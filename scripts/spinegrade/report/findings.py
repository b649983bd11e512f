"""The findings of new studies: which level, which side, how severe, with probabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.names import CONDITIONS, GRADE_WEIGHTS, LUMBAR_LEVELS, PROBABILITY_COLUMNS, SPINAL
from spinegrade.report.parts import Finding, Findings
from spinegrade.report.style import CONDITION_WORDS, GRADE_WORDS, cell_word, level_word

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


def _in_words(cells: list[tuple[int, float, str]]) -> str:
    found = []
    for grade in (2, 1):
        places = [(p, where) for g, p, where in cells if g == grade]
        if places:
            listed = ", ".join(f"{where} ({p:.0%})" for p, where in sorted(places, reverse=True))
            found.append(f"Likely {GRADE_WORDS[grade]}: {listed}.")
    return " ".join(found) or "Every cell is most likely normal or mild."


def study_findings(study: str, table: pd.DataFrame) -> Findings:
    """The findings of one study from its rows of the probabilities table."""
    plain = plain_probabilities(table[list(PROBABILITY_COLUMNS)].to_numpy(float))
    by_cell: dict[tuple[str, str, str], Finding] = {}
    told = []
    for row, values in zip(table.to_dict("records"), plain, strict=True):
        grade = int(values.argmax())
        by_cell[row["condition"], row["level"], row["side"]] = Finding(grade, _percent(values))
        name = CONDITION_WORDS[row["condition"]].lower()
        told.append((grade, float(values[grade]), f"{name} {cell_word(row['level'], row['side'])}"))
    columns = [
        CONDITION_WORDS[condition] if side == "central" else f"{CONDITION_WORDS[condition]}, {side}"
        for condition, side in COLUMNS
    ]
    rows = [
        (level_word(level), [by_cell.get((condition, level, side)) for condition, side in COLUMNS])
        for level in LUMBAR_LEVELS
    ]
    return Findings(study, _in_words(told), columns, rows)
