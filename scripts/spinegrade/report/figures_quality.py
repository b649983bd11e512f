"""Figures of quality: keypoint errors, reliability, confusion, training curves, run time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from spinegrade.metrics.cells import LabelledCells
from spinegrade.metrics.points import WITHIN_MM
from spinegrade.metrics.reliability import calibration_curve, confusion
from spinegrade.regions.lumbar_mri import CONDITIONS, GRADES, LUMBAR_LEVELS
from spinegrade.report.style import (
    CONDITION_WORDS,
    GRADE_COLOURS,
    GRADE_WORDS,
    RUN,
    SERIES,
    canvas,
    level_word,
    svg_uri,
)

LEAST_SHOWN_MM, MOST_SHOWN_MM = 15.0, 150.0


def keypoint_error(errors: pd.DataFrame) -> str:
    """Cumulative share of keypoints by error, and the spread by level; one line a detector."""
    detectors = list(errors["detector"].unique())
    most = 10.0 * np.ceil(errors["error_mm"].quantile(0.97) / 10.0)
    shown = float(np.clip(most, LEAST_SHOWN_MM, MOST_SHOWN_MM))
    with canvas(8.2, 3.2) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.35))
        for number, detector in enumerate(detectors):
            values = np.sort(errors.loc[errors["detector"] == detector, "error_mm"])
            share = np.arange(1, len(values) + 1) / len(values)
            colour = SERIES[number % len(SERIES)]
            left.plot(np.minimum(values, shown), share, color=colour, drawstyle="steps-post")
        left.axvline(WITHIN_MM, color="#999999", linestyle=":", linewidth=1)
        left.set(xlabel="distance (mm)", ylabel="share of keypoints", ylim=(0, 1.02))
        left.set_xlim(0, shown)
        left.set_title(f"Share within a distance (dotted: {WITHIN_MM:.0f} mm)")
        width = 0.8 / len(detectors)
        for number, detector in enumerate(detectors):
            colour = SERIES[number % len(SERIES)]
            places = np.arange(len(LUMBAR_LEVELS)) + (number - (len(detectors) - 1) / 2) * width
            _spread(right, errors[errors["detector"] == detector], places, width, colour)
            right.plot([], [], "s", color=colour, label=detector)
        right.axhline(WITHIN_MM, color="#999999", linestyle=":", linewidth=1)
        right.set_xticks(range(len(LUMBAR_LEVELS)), [level_word(v) for v in LUMBAR_LEVELS])
        right.set(ylabel="distance (mm)", ylim=(0, shown))
        right.set_title("By level: median, quarters, 5 to 95 %")
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
        return svg_uri(figure)


def _spread(
    axes: Axes, errors: pd.DataFrame, places: NDArray[np.float64], width: float, colour: str
) -> None:
    for place, level in zip(places, LUMBAR_LEVELS, strict=True):
        values = errors.loc[errors["level"] == level, "error_mm"].to_numpy(float)
        if len(values) == 0:
            continue
        low, first, middle, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
        axes.plot([place, place], [low, high], color=colour, linewidth=1)
        axes.bar(place, third - first, width * 0.8, first, color=colour, alpha=0.45)
        half = width * 0.4
        axes.plot([place - half, place + half], [middle, middle], color=colour, linewidth=2)


def reliability(cells: LabelledCells, probabilities: NDArray[np.float64]) -> str:
    """Predicted against observed probability of each grade, one panel a condition."""
    with canvas(8.2, 3.5) as figure:
        panels = figure.subplots(1, len(CONDITIONS), sharey=True, sharex=True)
        for axes, condition in zip(panels, CONDITIONS, strict=True):
            axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
            for grade, colour, word in zip(GRADES, GRADE_COLOURS, GRADE_WORDS, strict=True):
                curve = calibration_curve(cells, probabilities, grade, condition)
                axes.plot(
                    curve["predicted"], curve["observed"], color=colour, linewidth=1.3, label=word
                )
                size = 10 + 90 * curve["count"] / max(curve["count"].max(), 1)
                axes.scatter(curve["predicted"], curve["observed"], size, colour)
            axes.set_title(CONDITION_WORDS[condition])
            axes.set_aspect("equal")
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="predicted probability")
        panels[0].set_ylabel("observed share (weighted)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return svg_uri(figure)


def confusions(cells: LabelledCells, probabilities: NDArray[np.float64]) -> str:
    """True grade by row, likeliest grade by column, one panel a condition."""
    short = ["normal\nor mild", "moderate", "severe"]
    with canvas(8.2, 2.9) as figure:
        panels = figure.subplots(1, len(CONDITIONS), sharey=True)
        for axes, condition in zip(panels, CONDITIONS, strict=True):
            counts = confusion(cells, probabilities, condition).to_numpy()
            share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
            for row, column in np.ndindex(3, 3):
                colour = "white" if share[row, column] > 0.6 else "#222222"
                text = f"{counts[row, column]}"
                if counts[row].any():
                    text += f"\n{share[row, column]:.0%}"
                axes.text(column, row, text, ha="center", va="center", color=colour)
            axes.set_title(CONDITION_WORDS[condition])
            axes.set_xticks(range(3), short)
            axes.set_yticks(range(3), short)
            axes.set_xlabel("likeliest grade")
            axes.grid(visible=False)
        panels[0].set_ylabel("true grade")
        return svg_uri(figure)


def run_time(table: pd.DataFrame) -> str:
    """Seconds by rule as bars, longest first; columns rule, jobs, seconds, memory_mb."""
    ordered = table.sort_values("seconds")
    with canvas(8.2, 0.9 + 0.24 * len(ordered)) as figure:
        axes = figure.add_subplot()
        axes.barh(range(len(ordered)), ordered["seconds"], color=RUN, height=0.65)
        for place, row in enumerate(ordered.itertuples()):
            axes.annotate(
                f"{row.seconds:,.1f} s",
                (row.seconds, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        axes.set_yticks(range(len(ordered)), ordered["rule"])
        axes.set_xlabel("seconds, all jobs of the rule together")
        axes.margins(x=0.12)
        axes.grid(axis="y", visible=False)
        return svg_uri(figure)


# What a history may hold beside the training loss: both are what an epoch is chosen by, measured
# on studies that nothing is learnt from.
_MEASURED = {"choice_loss": ":", "held_out_loss": "-"}
_MEASURED_WORDS = {"choice_loss": "epoch chosen by", "held_out_loss": "held out"}


def measured_curves(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The measured losses of a history: by column the epochs in which there is one."""
    found = {name: table[table[name].notna()] for name in _MEASURED if name in table}
    return {name: rows for name, rows in found.items() if len(rows)}


def training(histories: Mapping[str, Mapping[int, pd.DataFrame]]) -> str:
    """Losses by epoch: a panel a model, a colour a fold.

    Training is dashed, the loss that an epoch is chosen by dotted, the held-out one solid.
    ``histories``: model name -> fold -> table with the columns epoch (from 0), loss, and, where
    they were measured, choice_loss and held_out_loss, null in other epochs. Parts of the loss and
    learning rates are not shown. Measured losses that are far from those of training, as they are
    no sum of parts, have an axis of their own to the right.
    """
    columns = min(len(histories), 3)
    rows = -(-len(histories) // columns)
    shown: set[str] = set()
    with canvas(8.2, 0.4 + 2.3 * rows) as figure:
        panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
        for axes, (name, folds) in zip(panels, histories.items(), strict=False):
            measured = {fold: measured_curves(table) for fold, table in folds.items()}
            beside = axes.twinx() if _far_apart(folds, measured) else axes
            for fold, table in folds.items():
                colour = SERIES[fold % len(SERIES)]
                axes.plot(table["epoch"], table["loss"], "--", color=colour, linewidth=1.3)
                for column, part in measured[fold].items():
                    style = _MEASURED[column] if len(part) > 1 else "o"
                    beside.plot(part["epoch"], part[column], style, color=colour, linewidth=1.3)
                    shown.add(column)
            axes.set_title(name)
            axes.set_xlabel("epoch (from 0)")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for axes in panels[len(histories) :]:
            axes.set_visible(False)
        panels[0].set_ylabel("loss")
        for fold in sorted({fold for folds in histories.values() for fold in folds}):
            panels[0].plot([], [], color=SERIES[fold % len(SERIES)], label=f"fold {fold}")
        panels[0].plot([], [], "--", color="#555555", label="training")
        for column in [name for name in _MEASURED if name in shown]:
            words, style = _MEASURED_WORDS[column], _MEASURED[column]
            panels[0].plot([], [], style, color="#555555", label=words)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=7)
        return svg_uri(figure)


def _far_apart(
    folds: Mapping[int, pd.DataFrame], measured: Mapping[int, Mapping[str, pd.DataFrame]]
) -> bool:
    """Whether all measured losses are above twice, or below half, all losses of training."""
    parts = [rows[name] for curves in measured.values() for name, rows in curves.items()]
    if not parts:
        return False
    other, own = pd.concat(parts), pd.concat([table["loss"] for table in folds.values()])
    return bool(other.min() > 2 * own.max() or other.max() < own.min() / 2)
