"""Training curves: what a history holds is drawn, whichever learner wrote it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from spinegrade.report import figures_quality
from spinegrade.report.figures_quality import training

PARTED = pd.DataFrame(
    {
        "epoch": [0, 1, 2],
        "learning_rate": [0.1, 0.2, 0.0],
        "loss": [30.0, 20.0, 10.0],
        "heatmap": [25.0, 16.0, 7.0],
        "grade": [5.0, 4.0, 3.0],
        "choice_loss": [1.0, 0.75, 0.875],
    }
)
WATCHED = pd.DataFrame(
    {
        "epoch": [0, 1, 2, 3],
        "loss": [1.0, 0.75, 0.5, 0.25],
        "choice_loss": [None] * 4,
        "held_out_loss": [None, 0.875, None, 1.25],
    }
).astype({"choice_loss": float})
BARE = pd.DataFrame({"epoch": [0, 1], "loss": [2.0, 1.0]})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, list, list, bool]]]:
    """By panel its lines (style, epochs, losses, whether on the right axis), filled by training."""
    found: dict[str, list] = {}

    def look(figure: Any) -> str:
        titles = {
            tuple(axes.get_position().bounds): axes.get_title("left") for axes in figure.axes[:3]
        }
        for axes in figure.axes:
            title = titles[tuple(axes.get_position().bounds)]
            for line in axes.lines:
                if len(line.get_xdata()):
                    values = [list(map(float, d)) for d in (line.get_xdata(), line.get_ydata())]
                    on_right = axes.yaxis.get_label_position() == "right"
                    found.setdefault(title, []).append((line.get_linestyle(), *values, on_right))
        found["legend"] = [text.get_text() for text in figure.legends[0].get_texts()]
        return ""

    monkeypatch.setattr(figures_quality, "svg_uri", look)
    training({"volumes": {0: PARTED}, "cells": {2: WATCHED}, "points": {0: BARE}})
    return found


def test_the_loss_that_an_epoch_is_chosen_by_is_drawn(drawn) -> None:
    # A weighted log loss of about 1 beside a sum of parts from 30 to 10: an axis of its own.
    assert drawn["volumes"] == [
        ("--", [0, 1, 2], [30, 20, 10], False),
        (":", [0, 1, 2], [1.0, 0.75, 0.875], True),
    ]


def test_the_held_out_loss_is_drawn_where_it_was_measured(drawn) -> None:
    assert drawn["cells"] == [
        ("--", [0, 1, 2, 3], [1.0, 0.75, 0.5, 0.25], False),
        ("-", [1, 3], [0.875, 1.25], False),
    ]


def test_a_learner_without_either_has_its_own_loss(drawn) -> None:
    assert drawn["points"] == [("--", [0, 1], [2, 1], False)]
    assert drawn["legend"] == ["fold 0", "fold 2", "training", "epoch chosen by", "held out"]
