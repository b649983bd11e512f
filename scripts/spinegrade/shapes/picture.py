"""A picture of mean shapes over the points that they were fitted to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spinegrade.geometry.procrustes import Points
from spinegrade.regions.lumbar_mri import LUMBAR_LEVELS
from spinegrade.runtime.files import atomic_path

# Colour, marker and its size: left and right nearly coincide, so the left one is a ring around.
_STYLES = {
    "left": ("#1b6ca8", "o", 11),
    "right": ("#c2571a", "s", 5),
    "central": ("#2f7d4f", "D", 7),
}
_TITLES = {
    "foraminal": "Foramina on sagittal T1",
    "canal": "Canal on sagittal T2/STIR",
}


def draw_shapes(path: str | Path, shapes: dict[str, tuple[Points, Points]]) -> None:
    """Draw each mean (k, 2) over its aligned sets (n, k, 2) as one PNG, panels side by side.

    Image frame, px at 512: x to the back, y to the feet. A point's number of studies is the
    panel's; equal axes and equal limits in all panels, so that they can be compared.
    """
    figure = Figure(figsize=(4.2 * len(shapes), 7.2), layout="constrained")
    axes = figure.subplots(1, len(shapes), squeeze=False, sharex=True, sharey=True)[0]
    for axis, (name, (mean, aligned)) in zip(axes, shapes.items(), strict=True):
        sides = ("left", "right") if len(mean) == 2 * len(LUMBAR_LEVELS) else ("central",)
        alpha = float(np.clip(30 / len(aligned), 0.05, 0.6))
        groups = np.split(np.arange(len(mean)), len(sides))
        for side, rows in zip(sides, groups, strict=True):
            colour = _STYLES[side][0]
            cloud = aligned[:, rows].reshape(-1, 2)
            axis.plot(*cloud.T, ".", color=colour, alpha=alpha, markersize=3, zorder=1)
        for side, rows in zip(sides, groups, strict=True):
            colour, marker, size = _STYLES[side]
            axis.plot(
                *mean[rows].T,
                f"-{marker}",
                color=colour,
                markersize=size,
                markerfacecolor="none",
                markeredgecolor="black",
                markeredgewidth=1.5,
                zorder=2,
                label=f"mean, {side}",
            )
        for level, point in zip(LUMBAR_LEVELS, mean[groups[0]], strict=True):
            text = level.upper().replace("_", "/")
            # Beside the frame, at the point's height: inside, a narrow panel would cut it.
            beside = (1.0, point[1])
            frame = ("axes fraction", "data")
            axis.annotate(text, beside, (6, 0), frame, "offset points", va="center")
        axis.set_title(f"{_TITLES.get(name, name)}: {len(aligned)} studies")
        axis.set_xlabel("x, px at 512 (to the back)")
        axis.set_aspect("equal")
        axis.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=len(sides), frameon=False
        )
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("y, px at 512 (to the feet)")
    axes[0].invert_yaxis()
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
