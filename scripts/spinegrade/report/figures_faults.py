"""Figures of what a published fault costs: outcomes with intervals, and points across slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from spinegrade.report.style import RUN, SECOND, canvas, svg_uri

OUTCOME_WORDS = {
    "side_confusion": "points nearer to the other side",
    "drift_slices": "drift to the other side (slices)",
    "slice_error": "slice error (slices)",
    "error_y_px": "height error (mask px)",
    "error_mm": "distance (mm)",
    "spinal": "canal loss",
    "foraminal": "foraminal loss",
    "subarticular": "subarticular loss",
    "any_severe": "any-severe canal loss",
}


def differences(figures: dict[str, Any]) -> str:
    """Bugged minus fixed of each outcome with its 95 % interval, a panel an outcome."""
    names = [name for name in OUTCOME_WORDS if name in figures]
    with canvas(8.2, 0.35 + 0.62 * len(names)) as figure:
        panels = np.atleast_1d(figure.subplots(len(names), 1))
        for axes, name in zip(panels, names, strict=True):
            found = figures[name]["difference"]
            clear = found["low"] > 0 or found["high"] < 0
            colour = SECOND if clear else "#777777"
            axes.plot([found["low"], found["high"]], [0, 0], color=colour, linewidth=2.2, alpha=0.6)
            axes.plot(found["value"], 0, "o", color=colour, markersize=7)
            axes.axvline(0, color="#999999", linewidth=1, linestyle=":")
            most = 1.25 * max(abs(found["low"]), abs(found["high"]), 1e-6)
            axes.set(xlim=(-most, most), ylim=(-0.6, 0.6))
            axes.set_yticks([0], [OUTCOME_WORDS[name]])
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="x", labelsize=8)
        return svg_uri(figure)


def across_slices(errors: dict[str, pd.DataFrame]) -> str:
    """How far points lie from their own towards the other side, in slices: bugged and fixed.

    ``errors``: by "bugged" and "fixed" the point errors of a sided target.
    """
    values = {
        kind: table["drift_slices"].dropna().to_numpy(float) for kind, table in errors.items()
    }
    low = np.floor(min(v.min() for v in values.values())) - 0.5
    high = np.ceil(max(v.max() for v in values.values())) + 0.5
    edges = np.arange(low, high + 1)
    with canvas(8.2, 2.4) as figure:
        axes = figure.add_subplot()
        for (kind, found), colour in zip(values.items(), (SECOND, RUN), strict=True):
            share = np.histogram(found, edges)[0] / len(found)
            axes.stairs(share, edges, color=colour, linewidth=1.6, label=kind)
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.15)
        axes.axvline(0, color="#999999", linewidth=1, linestyle=":")
        axes.set(xlabel="slices towards the other side", ylabel="share of points")
        axes.legend()
        return svg_uri(figure)
