"""Left against right: pairs of a level that are exchanged, or lie on one slice."""

from __future__ import annotations

import numpy as np
import pandas as pd

from spinegrade.annotations import codes
from spinegrade.annotations.points import findings
from spinegrade.regions.lumbar_mri import FORAMINAL, SUBARTICULAR

_KEY = ["study", "series", "rank"]
_OWN = ["instance_number", "x_px", "x_mm", "stack", "index"]


def side_pairs(points: pd.DataFrame, condition: str, plane: str) -> pd.DataFrame:
    """One row a level of a series that has both a left and a right point of a condition.

    Columns: study, series, rank, in_space; ``row_left``, ``row_right`` (the points' rows), and
    instance_number, x_px, x_mm, stack and index of both with the same endings. ``slices_apart``:
    by instance number. ``same_slice``: by the slice where it is known, else by the number.
    """
    own = points[(points["condition"] == condition) & (points["plane"] == plane)]
    own = own.assign(row=own.index)[[*_KEY, "in_space", "side", "row", *_OWN]]
    left, right = (own[own["side"] == side].drop(columns="side") for side in ("left", "right"))
    pairs = left.merge(
        right.drop(columns="in_space"), on=_KEY, suffixes=("_left", "_right"), validate="1:1"
    )
    apart = pairs["instance_number_left"] - pairs["instance_number_right"]
    one = (pairs["stack_left"] == pairs["stack_right"]) & (
        pairs["index_left"] == pairs["index_right"]
    )
    return pairs.assign(
        slices_apart=apart.abs(), same_slice=one.where(pairs["in_space"], apart == 0).astype(bool)
    )


def _both(pairs: pd.DataFrame, code: str, found: list[str], expected: str) -> pd.DataFrame:
    """A finding at the left and one at the right point of each pair."""
    rows = np.concatenate([pairs["row_left"], pairs["row_right"]])
    return findings(rows, code, found * 2, expected)


def exchanged_recesses(points: pd.DataFrame) -> pd.DataFrame:
    """Recess pairs whose left point does not lie on the patient's left of the right one.

    By patient position (+x to the left) where both have one; else by column, since axial images
    are shown with the patient's left at their right.
    """
    pairs = side_pairs(points, SUBARTICULAR, "axial")
    return pd.concat([_by_position(pairs), exchanged_by_column(pairs)], ignore_index=True)


def exchanged_by_column(pairs: pd.DataFrame) -> pd.DataFrame:
    """Of recess pairs without positions those whose left point has not the greater column."""
    bad = pairs[~pairs["in_space"] & (pairs["x_px_left"] <= pairs["x_px_right"])]
    found = [
        f"left at column {left:.0f}, right at column {right:.0f} px"
        for left, right in zip(bad["x_px_left"], bad["x_px_right"], strict=True)
    ]
    expected = "left at the greater column of an axial image"
    return _both(bad, codes.SIDES_EXCHANGED, found, expected)


def _by_position(pairs: pd.DataFrame) -> pd.DataFrame:
    bad = pairs[pairs["in_space"] & (pairs["x_mm_left"] < pairs["x_mm_right"])]
    found = [
        f"the left point lies {right - left:.1f} mm to the patient's right of the right one"
        for left, right in zip(bad["x_mm_left"], bad["x_mm_right"], strict=True)
    ]
    return _both(bad, codes.SIDES_EXCHANGED, found, "left on the patient's left (greater x)")


def exchanged_foramina(points: pd.DataFrame) -> pd.DataFrame:
    """Foramina whose left point lies on the patient's right of the right one.

    Without positions: the pairs whose instance numbers run against most of their series; with
    as many of either kind, all of them.
    """
    pairs = side_pairs(points, FORAMINAL, "sagittal")
    # On one slice the plane's tilt decides which x is greater, and proves nothing.
    parts = [_by_position(pairs[~pairs["same_slice"]])]
    plain = pairs[~pairs["in_space"]]
    sign = np.sign(plain["instance_number_left"] - plain["instance_number_right"])
    total = sign.groupby([plain["study"], plain["series"]]).transform("sum")
    mixed = sign.groupby([plain["study"], plain["series"]]).transform(
        lambda part: (part > 0).any() and (part < 0).any()
    )
    bad = plain[mixed.astype(bool) & (sign != 0) & (sign * total <= 0)]
    found = [
        f"left on instance {left}, right on {right}, the other way round than in most levels"
        for left, right in zip(
            bad["instance_number_left"], bad["instance_number_right"], strict=True
        )
    ]
    parts.append(_both(bad, codes.SIDES_EXCHANGED, found, "one order of sides in a series"))
    return pd.concat(parts, ignore_index=True)


def foramina_on_one_slice(points: pd.DataFrame) -> pd.DataFrame:
    """Left and right foramen of a level on the same sagittal slice."""
    pairs = side_pairs(points, FORAMINAL, "sagittal")
    bad = pairs[pairs["same_slice"]]
    found = [f"left and right on instance {number}" for number in bad["instance_number_left"]]
    return _both(bad, codes.ONE_SLICE, found, "the two foramina on slices of their own")
