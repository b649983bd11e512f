"""Levels against each other: their order from head to foot, and the line of the canal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.annotations import codes
from spinegrade.annotations.points import POSITION, findings, not_in_order
from spinegrade.regions.lumbar_mri import SPINAL, SUBARTICULAR

# A level lies at least so much lower than the one above it. Adults' levels are 25 to 45 mm apart.
LEAST_FALL_MM = 3.0
# A canal point may lie so far off the line through its neighbours, in distances of two levels
# (their median); the ends of the line less surely, since they are beyond both neighbours. Of the
# 1,899 complete series of the RSNA 2024 data at most 1 in 200 goes beyond either.
OFF_LINE, OFF_END = 0.5, 1.0
_GROUP = ["study", "series", "condition", "side"]


def _word(level: str) -> str:
    return level.upper().replace("_", "/")


def _columns(points: pd.DataFrame, least: int) -> pd.DataFrame:
    """Points of one condition and side of a series, from the head down; groups of ``least``."""
    ordered = points.sort_values([*_GROUP, "rank"], kind="stable")
    sizes = ordered.groupby(_GROUP)["rank"].transform("size")
    ordered = ordered[sizes >= least]
    return ordered.assign(group=ordered.groupby(_GROUP, sort=False).ngroup())


def out_of_order(points: pd.DataFrame) -> pd.DataFrame:
    """Points that keep the levels of their column from running from head to foot.

    By patient position; without one by the row in the image, for sagittal series only.
    """
    space = _broken(points[points["in_space"]], -points["z_mm"], LEAST_FALL_MM, "{:.1f} mm")
    flat = points[~points["in_space"] & (points["plane"] == "sagittal")]
    image = _broken(flat, flat["y_px"], 0.0, "row {:.0f} px")
    return pd.concat([space, image], ignore_index=True)


def _broken(points: pd.DataFrame, measure: pd.Series, least: float, form: str) -> pd.DataFrame:
    """Findings where ``measure`` does not grow by more than ``least`` from level to level."""
    ordered = _columns(points, 2)
    ordered = ordered.assign(measure=measure.reindex(ordered.index))
    steps = ordered.groupby("group")["measure"].diff()
    broken = ordered[ordered["group"].isin(ordered.loc[steps <= least, "group"])]
    rows: list[int] = []
    found: list[str] = []
    for _, group in broken.groupby("group"):
        values = group["measure"].to_numpy(float)
        bad = not_in_order(values, least)
        shown = group["z_mm"].to_numpy(float) if least else values
        told = ", ".join(
            f"{_word(level)} {form.format(value)}"
            for level, value in zip(group["level"], shown, strict=True)
        )
        rows += group.index[bad].tolist()
        found += [f"from the head down: {told}"] * int(bad.sum())
    text = f"every level more than {least:g} mm below the one above it (z falls)"
    expected = text if least else "every level below the one above it (rows grow)"
    return findings(rows, codes.LEVELS_OUT_OF_ORDER, found, expected)


def number_directions(points: pd.DataFrame, condition: str, plane: str) -> pd.DataFrame:
    """How the instance numbers of a condition run from head to foot, by series and side.

    Columns: study, series, side, ``levels`` and ``direction``: ``grow``, ``fall``, ``neither``,
    or ``one`` where there is a single level. An equal number neither grows nor falls.
    """
    own = points[(points["condition"] == condition) & (points["plane"] == plane)]
    ordered = _columns(own, 1)
    steps = ordered.groupby("group")["instance_number"].diff()
    by_group = pd.DataFrame(
        {
            "levels": ordered.groupby("group").size(),
            "grows": (steps > 0).groupby(ordered["group"]).sum(),
            "falls": (steps < 0).groupby(ordered["group"]).sum(),
        }
    )
    first = ordered.drop_duplicates("group").set_index("group")[["study", "series", "side"]]
    steps_each = by_group["levels"] - 1
    direction = np.select(
        [steps_each == 0, by_group["grows"] == steps_each, by_group["falls"] == steps_each],
        ["one", "grow", "fall"],
        "neither",
    )
    return first.assign(levels=by_group["levels"], direction=direction).reset_index(drop=True)


def numbers_out_of_order(points: pd.DataFrame) -> pd.DataFrame:
    """Recess points without positions whose instance numbers neither grow nor fall."""
    plain = points[~points["in_space"]]
    directions = number_directions(plain, SUBARTICULAR, "axial")
    bad = directions.loc[directions["direction"] == "neither", ["study", "series", "side"]]
    own = plain[(plain["condition"] == SUBARTICULAR) & (plain["plane"] == "axial")]
    own = own.assign(row=own.index).merge(bad, on=["study", "series", "side"])
    rows: list[int] = []
    found: list[str] = []
    for _, group in own.sort_values("rank").groupby(["study", "series", "side"]):
        numbers = group["instance_number"].to_numpy(float)
        odd = min((not_in_order(numbers), not_in_order(-numbers)), key=np.sum)
        told = ", ".join(
            f"{_word(level)} {number:.0f}"
            for level, number in zip(group["level"], numbers, strict=True)
        )
        rows += group["row"].to_numpy()[odd].tolist()
        found += [f"instance numbers from the head down: {told}"] * int(odd.sum())
    expected = "instance numbers that grow, or fall, from level to level"
    return findings(rows, codes.NUMBERS_OUT_OF_ORDER, found, expected)


def off_line(points: pd.DataFrame) -> pd.DataFrame:
    """Canal points far from the line through their neighbours, the farthest first.

    Distances are in mm and space, without positions in px of the image; what is far goes by the
    median distance of two levels of the series.
    """
    canal = points[(points["condition"] == SPINAL) & (points["plane"] == "sagittal")]
    parts = [
        _off_line(canal[canal["in_space"]], POSITION, "mm"),
        _off_line(canal[~canal["in_space"]], ["x_px", "y_px"], "px"),
    ]
    return pd.concat(parts, ignore_index=True)


def _off_line(canal: pd.DataFrame, axes: list[str], unit: str) -> pd.DataFrame:
    ordered = _columns(canal, 4)
    rows: list[int] = []
    found: list[str] = []
    for size, part in ordered.groupby(ordered.groupby("group")["rank"].transform("size")):
        lines = part[axes].to_numpy(float).reshape(-1, int(size), len(axes))
        index = part.index.to_numpy().reshape(-1, int(size))
        steps = np.median(np.linalg.norm(np.diff(lines, axis=1), axis=2), axis=1)
        far = (_from_line(lines) > _limits(int(size), steps)).any(axis=1) & (steps > 0)
        for places, left, step in zip(lines[far], index[far], steps[far], strict=True):
            for row, distance, limit in _worst_first(places, left, step):
                rows.append(row)
                found.append(
                    f"{distance:.1f} {unit} from the line through its neighbours, "
                    f"at most {limit:.1f} {unit} are expected"
                )
    expected = f"a point within {OFF_LINE:g} of the distance of two levels (the ends: {OFF_END:g})"
    return findings(rows, codes.OFF_LINE, found, expected)


def _worst_first(
    places: NDArray[np.float64], rows: NDArray[np.int64], step: float
) -> Iterator[tuple[int, float, float]]:
    """Row, distance and limit of the farthest point, then of the farthest of the others."""
    while len(places) >= 4:
        distance, limit = _from_line(places), _limits(len(places), np.array(step))
        worst = int(np.argmax(distance / limit))
        if distance[worst] <= limit[worst]:
            return
        yield int(rows[worst]), float(distance[worst]), float(limit[worst])
        places, rows = np.delete(places, worst, axis=0), np.delete(rows, worst)


def _limits(count: int, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., count): how far each of ``count`` points may lie off, for median steps (...)."""
    return step[..., None] * np.array([OFF_END, *[OFF_LINE] * (count - 2), OFF_END])


def _from_line(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (..., n) of points (..., n, k) from the line through their two nearest neighbours.

    Nearest by order: those of a middle point lie on both sides of it.
    """
    count = places.shape[-2]
    inner = [(place - 1, place + 1) for place in range(1, count - 1)]
    ends = np.array([(1, 2), *inner, (count - 2, count - 3)])
    start = places[..., ends[:, 0], :]
    along = places[..., ends[:, 1], :] - start
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    unit = np.divide(along, length, out=np.zeros_like(along), where=length > 0)
    offset = places - start
    off = offset - (offset * unit).sum(axis=-1, keepdims=True) * unit
    distance: NDArray[np.float64] = np.linalg.norm(off, axis=-1)
    return distance
