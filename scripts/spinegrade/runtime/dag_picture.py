"""A graph as a picture: rounded boxes in layers, arrows between them; SVG, PNG or PDF."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from spinegrade.runtime.dag_layout import Edge, lay_out, without_shortcuts

matplotlib.use("Agg")
INK, LINE, FILL, EDGE = "#222222", "#8a949c", "#eaf2f8", "#0072B2"
_RC = {"font.family": "DejaVu Sans", "svg.fonttype": "path", "svg.hashsalt": "spinegrade"}
FONT_PT = 8.5
# Inches: of a character and a line at that size, around a label, and between boxes.
CHARACTER, TEXT_LINE, MARGIN, GAP, LAYER_GAP = 0.078, 0.15, 0.16, 0.16, 0.34


def draw_graph(
    labels: dict[int, str], edges: Iterable[Edge], path: Path, sideways: bool = False
) -> None:
    """Draw the graph to ``path``, in the format of its suffix; the same bytes for the same graph.

    Layers lie below one another, or with ``sideways`` beside one another. An arrow that follows
    from others is left out.
    """
    layout = lay_out(labels, without_shortcuts(edges))
    lines = {number: label.split("\n") for number, label in labels.items()}
    width = max(len(line) for part in lines.values() for line in part) * CHARACTER + 2 * MARGIN
    height = max(len(part) for part in lines.values()) * TEXT_LINE + 2 * MARGIN * 0.6
    along = height + GAP if sideways else width + GAP
    across = (width if sideways else height) + LAYER_GAP

    def at(place: tuple[float, int]) -> tuple[float, float]:
        position, layer = place[0] * along, place[1] * across
        return (layer, -position) if sideways else (position, -layer)

    centres = {number: at(place) for number, place in layout.place.items()}
    rim = 0.08
    points = [
        (x + a, y + b)
        for x, y in centres.values()
        for a in (-width / 2, width / 2)
        for b in (-height / 2, height / 2)
    ]
    points += [point for way in layout.ways.values() for point in map(at, way)]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    size = (right - left + 2 * rim, high - low + 2 * rim)
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=size, facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(left - rim, right + rim), ylim=(low - rim, high + rim))
        axes.set_axis_off()
        for way in layout.ways.values():
            _arrow(axes, [at(place) for place in way], (width, height), sideways)
        for number, (x, y) in centres.items():
            box = (x - width / 2, y - height / 2)
            shape = "round,pad=0,rounding_size=0.07"
            patch = FancyBboxPatch(box, width, height, shape, fc=FILL, ec=EDGE, lw=1.0, zorder=2)
            axes.add_patch(patch)
            text = "\n".join(lines[number])
            axes.text(x, y, text, ha="center", va="center", size=FONT_PT, color=INK, zorder=3)
        metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=150, metadata=metadata)


def _arrow(
    axes: matplotlib.axes.Axes,
    points: list[tuple[float, float]],
    box: tuple[float, float],
    sideways: bool,
) -> None:
    """A smooth line through ``points`` from the rim of the first box to that of the last."""
    step = box[0] / 2 if sideways else -box[1] / 2
    (x0, y0), (x1, y1) = points[0], points[-1]
    first = (x0 + step, y0) if sideways else (x0, y0 + step)
    last = (x1 - step, y1) if sideways else (x1, y1 - step)
    # Inside a layer the line runs straight from one rim to the other, between boxes it bends.
    stops = [first]
    for x, y in points[1:-1]:
        stops += [(x - step, y), (x + step, y)] if sideways else [(x, y - step), (x, y + step)]
    stops.append(last)
    vertices, codes = [stops[0]], [Curve.MOVETO]
    for number, ((xa, ya), (xb, yb)) in enumerate(pairwise(stops)):
        if number % 2:
            vertices.append((xb, yb))
            codes.append(Curve.LINETO)
            continue
        half = ((xb - xa) / 2, 0.0) if sideways else (0.0, (yb - ya) / 2)
        vertices += [(xa + half[0], ya + half[1]), (xb - half[0], yb - half[1]), (xb, yb)]
        codes += [Curve.CURVE4] * 3
    axes.add_patch(
        FancyArrowPatch(
            path=Curve(vertices, codes),
            arrowstyle="-|>,head_length=4,head_width=2.2",
            color=LINE,
            lw=1.1,
            shrinkA=0,
            shrinkB=0,
            zorder=1,
        )
    )
