"""Pictures of a cohort that was checked: how many slices its series have, and how they lie."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from spinegrade.report.style import SERIES, canvas, svg_uri

MOST_SIZES = 12
_MEASURES = (
    ("slices", "slices a series", 1.0),
    ("slice_spacing_mm", "distance of slices (mm)", 0.1),
    ("row_spacing_mm", "pixel size (mm)", 0.01),
    ("tilt_degrees", "tilt from the described plane (degrees)", 1.0),
)


def kind_of(series: pd.DataFrame) -> pd.Series:
    """Plane and weighting in words, ``Sagittal T1``, for each row."""
    return series["plane"].str.capitalize() + " " + series["weighting"].str.upper()


def geometry(usable: pd.DataFrame) -> str:
    """Histograms of slices, spacings and tilt, one colour a kind of series."""
    kinds = kind_of(usable)
    names = sorted(kinds.unique())
    with canvas(8.2, 5.2) as figure:
        panels = figure.subplots(2, 2).ravel()
        for axes, (column, label, least) in zip(panels, _MEASURES, strict=True):
            values = usable[column].to_numpy(float)
            parts = [values[(kinds == name).to_numpy()] for name in names]
            _histogram(axes, parts, _edges(values, least), whole=column == "slices")
            axes.set(xlabel=label, ylabel="series")
        handles = [panels[0].plot([], [], "s", color=SERIES[n])[0] for n in range(len(names))]
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
        return svg_uri(figure)


def _edges(values: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """At most 40 equal bins, a multiple of ``least`` wide, with all values inside them."""
    low, high = float(values.min()), float(values.max())
    width = least * max(1, np.ceil((high - low) / least / 40))
    first = np.floor(low / width) - 0.5
    return width * (first + np.arange(np.ceil(high / width - first) + 1))


def _histogram(
    axes: Axes, parts: list[NDArray[np.float64]], edges: NDArray[np.float64], whole: bool
) -> None:
    colours = [SERIES[number] for number in range(len(parts))]
    axes.hist(parts, edges, stacked=True, color=colours, edgecolor="white", linewidth=0.3)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=whole))
    axes.grid(visible=False, axis="x")


def sizes(usable: pd.DataFrame) -> str:
    """The most frequent matrix sizes, one colour a kind of series."""
    named = usable["rows"].astype(str) + " × " + usable["cols"].astype(str)
    counts = pd.crosstab(named, kind_of(usable))
    order = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
    shown = counts.loc[order[:MOST_SIZES]]
    if len(order) > MOST_SIZES:
        shown.loc[f"{len(order) - MOST_SIZES} other sizes"] = counts.loc[order[MOST_SIZES:]].sum()
    places = np.arange(len(shown))[::-1]
    with canvas(8.2, 1.2 + 0.26 * len(shown)) as figure:
        axes = figure.subplots()
        start = np.zeros(len(shown))
        for number, name in enumerate(shown.columns):
            width = shown[name].to_numpy(float)
            axes.barh(places, width, 0.7, start, color=SERIES[number], label=name)
            start += width
        for place, total in zip(places, start, strict=True):
            axes.annotate(
                f"{total:.0f}", (total, place), (4, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(places, shown.index)
        axes.set(xlabel="series", ylim=(-0.7, len(shown) - 0.3), xlim=(0, 1.08 * start.max()))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=len(shown.columns))
        return svg_uri(figure)
