"""The two-stage graders' loss, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from spinegrade.losses.registry import build


def test_columns_are_weighed_by_themselves() -> None:
    loss = build("column_cross_entropy")
    even, knows = [0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]
    logits = torch.tensor([[even, knows], [even, even], [even, even]])
    grades = torch.tensor([[2, 0], [0, 2], [-1, -1]])
    # First column: log 3 whatever the weights. Second: grade 0 (p = 1/2) once, grade 2 four times.
    expected = (math.log(3) + (math.log(2) + 4 * math.log(3)) / 5) / 2
    assert float(loss(logits, grades)) == pytest.approx(expected)


def test_a_column_without_a_grade_counts_for_nothing() -> None:
    loss = build("column_cross_entropy")
    logits = torch.zeros(2, 3, 3, requires_grad=True)
    grades = torch.tensor([[1, -1, -1], [0, -1, -1]])
    found = loss(logits, grades)
    assert found.item() == pytest.approx(math.log(3))
    found.backward()
    assert not logits.grad[:, 1:].any() and logits.grad[:, 0].any()


def test_nothing_graded_is_zero_and_not_nan() -> None:
    loss = build("column_cross_entropy")
    logits = torch.zeros(2, 3, 3, requires_grad=True)
    found = loss(logits, torch.full((2, 3), -1))
    found.backward()
    assert float(found) == 0 and not logits.grad.any()


def test_other_weights() -> None:
    loss = build("column_cross_entropy", grade_weights=(1, 1, 1))
    logits = torch.tensor([[[math.log(2), 0.0, 0.0]], [[0.0, 0.0, 0.0]]])
    found = loss(logits, torch.tensor([[0], [2]]))
    assert float(found) == pytest.approx((math.log(2) + math.log(3)) / 2)
