"""Pictures of a study's annotated points in patient space, those that contradict marked."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from spinegrade.regions.lumbar_mri import FORAMINAL, SPINAL, SUBARTICULAR
from spinegrade.report.style import CONDITION_WORDS, SECOND, SERIES, canvas, level_word, svg_uri

_COLOURS = {SPINAL: SERIES[0], FORAMINAL: SERIES[2], SUBARTICULAR: SERIES[3]}
_MARKERS = {"left": ">", "right": "<", "central": "o"}


def points_in_space(points: pd.DataFrame, contradicting: pd.Series) -> str:
    """A study's points from the left and from the front, in mm.

    ``points``: located ones, with condition, level, side, ``rank`` and x_mm, y_mm, z_mm.
    ``contradicting``: whether each is circled. From the front the patient's left is at the right.
    """
    with canvas(8.2, 4.6) as figure:
        side, front = figure.subplots(1, 2, sharey=True)
        for axes, across in ((side, "y_mm"), (front, "x_mm")):
            _columns(axes, points, across)
            _circles(axes, points[contradicting.to_numpy()], across)
            axes.set_aspect("equal", adjustable="datalim")
        side.set(
            xlabel="to the back (mm)",
            ylabel="to the head (mm)",
            title="From the left, as a sagittal image",
        )
        front.set(xlabel="to the patient's left (mm)", title="From the front, as an axial image")
        handles = [
            side.plot([], [], "-", color=_COLOURS[name])[0]
            for name in _COLOURS
            if name in set(points["condition"])
        ]
        words = [CONDITION_WORDS[name] for name in _COLOURS if name in set(points["condition"])]
        figure.legend(handles, words, loc="outside lower center", ncols=len(words))
        return svg_uri(figure)


def _columns(axes: Axes, points: pd.DataFrame, across: str) -> None:
    """The points of each condition and side, joined from the head down."""
    for (condition, side, _), column in points.groupby(["condition", "side", "series"]):
        column = column.sort_values("rank")
        axes.plot(
            column[across],
            column["z_mm"],
            marker=_MARKERS[str(side)],
            markersize=4,
            linewidth=0.8,
            color=_COLOURS.get(str(condition), SERIES[5]),
        )


def _circles(axes: Axes, points: pd.DataFrame, across: str) -> None:
    axes.plot(points[across], points["z_mm"], "o", ms=11, mfc="none", mec=SECOND, mew=1.4, zorder=3)
    named = points.drop_duplicates("level", keep="last")
    for across_mm, z_mm, level in zip(named[across], named["z_mm"], named["level"], strict=True):
        axes.annotate(
            level_word(level), (across_mm, z_mm), (9, 3), textcoords="offset points", color=SECOND
        )
