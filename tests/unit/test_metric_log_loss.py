"""One log loss and one prior for all who train, choose, score or fill in, worked out by hand."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from spinegrade.combine.prior import fit_prior
from spinegrade.grade.cells.cells import log_prior
from spinegrade.metrics.log_loss import CLIP, cell_losses, mean_over_conditions
from spinegrade.metrics.prior import grade_prior
from spinegrade.regions.lumbar_mri import (
    CONDITIONS,
    GRADE_WEIGHTS,
    LUMBAR_CELLS,
    LUMBAR_LEVELS,
    LUMBAR_MRI,
)

PACKAGE = Path(__file__).resolve().parents[2] / "scripts" / "spinegrade"


def test_losses_and_weights_by_hand_and_one_floor() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.2, 0.8, 0.0], [1.0, 0.0, 0.0]])
    losses, weights = cell_losses(probabilities, np.array([0, 1, 2]), GRADE_WEIGHTS)
    # A true grade of probability 0 costs -log of the machine epsilon of float64: 52 log 2.
    assert losses == pytest.approx([math.log(2), -math.log(0.8), 52 * math.log(2)])
    assert weights.tolist() == [1, 2, 4] and CLIP == 2**-52


def test_conditions_have_one_share_each() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.4, 0.4]], np.float32)
    # Condition 2: weights 1 and 4 on 0.5 and 0.8; condition 0: one cell of probability 0.4.
    found = mean_over_conditions(
        probabilities, np.array([0, 2, 1]), np.array([2, 2, 0]), GRADE_WEIGHTS
    )
    expected = ((math.log(2) - 4 * math.log(0.8)) / 5 - math.log(0.4)) / 2
    assert found == pytest.approx(expected, rel=1e-6)
    assert math.isnan(
        mean_over_conditions(probabilities[:0], np.array([]), np.array([]), GRADE_WEIGHTS)
    )


def test_prior_by_hand() -> None:
    # Shares (3, 1, 0) and one each: (4, 2, 1) / 7. Level 0: (2, 1, 0) plus 3 shares, by 1, 2, 4.
    first = np.array([2 + 12 / 7, 2 * (1 + 6 / 7), 4 * 3 / 7])
    assert grade_prior([[2, 1, 0], [1, 0, 0]], GRADE_WEIGHTS)[0] == pytest.approx(
        first / first.sum()
    )
    # Nothing known: equal shares, so the weights alone speak.
    assert grade_prior(np.zeros((2, 3)), GRADE_WEIGHTS)[1] == pytest.approx([1 / 7, 2 / 7, 4 / 7])


def test_a_grader_begins_from_the_prior_that_its_cells_would_be_filled_with() -> None:
    random = np.random.default_rng(5)
    labels = pd.DataFrame(list(LUMBAR_CELLS) * 4)
    labels["grade"] = pd.array(random.integers(0, 3, len(labels)), "Int64")
    labels.loc[random.random(len(labels)) < 0.2, "grade"] = pd.NA
    prior = fit_prior(labels, LUMBAR_MRI)
    logs = log_prior(labels)
    for place, condition in enumerate(CONDITIONS):
        expected = np.log([prior[condition][level] for level in LUMBAR_LEVELS])
        np.testing.assert_allclose(logs[place], expected, rtol=1e-6)


def test_no_other_module_of_the_metrics_bounds_probabilities() -> None:
    bounding = [
        path.name
        for path in sorted((PACKAGE / "metrics").glob("*.py"))
        if re.search(r"np\.log\(|np\.clip\(", path.read_text(encoding="utf-8"))
    ]
    assert bounding == ["log_loss.py"]
