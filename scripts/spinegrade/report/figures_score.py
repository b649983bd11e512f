"""Figures of the score: the headline, its four parts, and every condition and level."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from spinegrade.metrics.bootstrap import Interval
from spinegrade.metrics.rsna2024 import PARTS
from spinegrade.regions.lumbar_mri import CONDITIONS, LUMBAR_LEVELS
from spinegrade.report.style import (
    CONDITION_WORDS,
    FLOOR,
    PRIOR,
    RUN,
    canvas,
    level_word,
    svg_uri,
)

PART_WORDS = {
    "total": "Score",
    "spinal": "Spinal canal",
    "foraminal": "Foraminal",
    "subarticular": "Subarticular",
    "any_severe": "Any severe canal",
}


def _interval(axes: Axes, place: float, interval: Interval, colour: str, label: str | None) -> None:
    axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2.2, alpha=0.6)
    axes.plot(interval.value, place, "o", color=colour, markersize=8, label=label)


def headline(run: Interval, prior: Interval, floor: float | None) -> str:
    """The run's and the prior's score with their intervals, and the floor where it is known."""
    with canvas(8.2, 2.1) as figure:
        axes = figure.add_subplot()
        for place, (interval, colour) in enumerate([(prior, PRIOR), (run, RUN)]):
            _interval(axes, place, interval, colour, None)
            text = f"{interval.value:.3f}  [{interval.low:.3f}, {interval.high:.3f}]"
            axes.annotate(
                text, (interval.value, place), (0, 9), textcoords="offset points", ha="center"
            )
        names = ["the prior", "this run"]
        values = [run.low, run.high, prior.low, prior.high]
        if floor is not None:
            axes.plot(floor, 2, "D", color=FLOOR, markersize=8)
            axes.annotate(
                f"{floor:.3f}", (floor, 2), (0, 9), textcoords="offset points", ha="center"
            )
            axes.axvline(floor, color=FLOOR, linewidth=1, linestyle=":")
            names.append("the floor")
            values.append(floor)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.5, len(names) - 0.25)
        room = 0.08 * (max(values) - min(values)) + 0.02
        axes.set_xlim(max(min(values) - room, 0.0), max(values) + room)
        axes.set_xlabel("score (weighted log loss; lower is better)")
        axes.grid(axis="y", visible=False)
        return svg_uri(figure)


def parts(
    run: dict[str, Interval], prior: dict[str, Interval], floor: dict[str, float] | None
) -> str:
    """The four parts of the score beside the prior's, with intervals and the floor's parts."""
    with canvas(8.2, 2.6) as figure:
        axes = figure.add_subplot()
        for row, part in enumerate(reversed(PARTS)):
            first = row == 0
            _interval(axes, row - 0.13, prior[part], PRIOR, "prior" if first else None)
            _interval(axes, row + 0.13, run[part], RUN, "this run" if first else None)
            if floor is not None:
                axes.plot(
                    floor[part], row, "D", color=FLOOR, label="floor" if first else None, zorder=3
                )
        axes.set_yticks(range(len(PARTS)), [PART_WORDS[part] for part in reversed(PARTS)])
        axes.set_xlim(left=0.0)
        axes.set_xlabel("weighted log loss (lower is better)")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside right upper")
        return svg_uri(figure)


def levels(run: pd.DataFrame, prior: pd.DataFrame, floor: pd.DataFrame | None) -> str:
    """Log loss by level, one panel a condition; tables as ``metrics.level_table`` gives."""
    lines = [("prior", prior, PRIOR, "s"), ("this run", run, RUN, "o")]
    if floor is not None:
        lines.append(("floor", floor, FLOOR, "D"))
    with canvas(8.2, 2.9) as figure:
        panels = figure.subplots(1, len(CONDITIONS), sharey=True)
        for axes, condition in zip(panels, CONDITIONS, strict=True):
            for label, table, colour, marker in lines:
                here = table[(table["condition"] == condition) & (table["level"] != "all")]
                values = here.set_index("level")["log_loss"].reindex(list(LUMBAR_LEVELS))
                axes.plot(
                    np.arange(len(values)),
                    values.to_numpy(float),
                    marker=marker,
                    color=colour,
                    label=label,
                    linewidth=1.4,
                )
            axes.set_xticks(range(len(LUMBAR_LEVELS)), [level_word(v) for v in LUMBAR_LEVELS])
            axes.set_title(CONDITION_WORDS[condition])
        # Once all are drawn: a limit set earlier would hold for what is drawn later.
        panels[0].set_ylim(bottom=0.0)
        panels[0].set_ylabel("weighted log loss")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return svg_uri(figure)
