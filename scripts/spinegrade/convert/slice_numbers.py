"""The slice that an instance number names: header and file name decide together.

DICOM does not ask for unique instance numbers, so a number alone may fit several slices; in the
layout of the RSNA 2024 data the file of a slice bears it as its name.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spinegrade.geometry.affine import AFFINE_COLUMNS

_SERIES = ["study", "series"]
_PLACE = [*_SERIES, "stack", "index"]
# A number of up to nine digits, as header.py takes it where the header has none; a file may lie
# in a folder below the series' own.
_NUMBER = r"(?:^|/)(\d{1,9})(?:\.[A-Za-z]\w*)?$"
# Candidates closer than this are one place: volumes at the same positions (echoes, time points).
SAME_PLACE_MM = 0.1
_MOST_FILES = 3


class Candidates(NamedTuple):
    """Slices that points may lie on, and what is not there.

    ``table``: a row a point and candidate: ``point`` (row of the points), ``stack``, ``index``,
    ``file``, x_mm, y_mm, z_mm (where the point would lie), ``by_number``, ``by_name`` (whether
    header or file name bears the number); the first stack first. ``lost``: for each point the
    file of its number that was left out, null where there is none.
    """

    table: pd.DataFrame
    lost: pd.Series


def name_numbers(files: pd.Series) -> pd.Series:
    """The number that each file name is, ``0003.dcm`` -> 3, else null."""
    return files.str.extract(_NUMBER, expand=False).astype("Int64")


def find_candidates(
    points: pd.DataFrame,
    stacks: pd.DataFrame,
    slices: pd.DataFrame,
    copies: pd.DataFrame,
    rejected: pd.DataFrame,
) -> Candidates:
    """For each row of ``points`` (RangeIndex) the slices that its instance number may mean.

    ``stacks``, ``slices``, ``copies``, ``rejected``: tables of those kinds, of the same series. A
    slice that was left out as a copy stands where the kept one lies. Where one slice bears the
    number in header and name, nothing else is a candidate.
    """
    places = _places(slices, copies)
    asked = points[[*_SERIES, "instance_number", "x_px", "y_px"]].rename_axis("point").reset_index()
    asked = asked.rename(columns={"instance_number": "asked"}).astype({"asked": "Int64"})
    key = [*_SERIES, "asked"]
    numbered = asked.merge(places.assign(asked=places["instance_number"]), on=key)
    named = asked.merge(places[places["named"].notna()].assign(asked=lambda t: t["named"]), on=key)
    found = pd.concat([numbered, named], ignore_index=True).drop_duplicates(["point", "entry"])
    found["by_number"] = found["instance_number"] == found["asked"]
    found["by_name"] = (found["named"] == found["asked"]).fillna(False).astype(bool)
    both = (found["by_number"] & found["by_name"]).astype(bool)
    settled = set(found.loc[both, "point"])
    found = found[both | ~found["point"].isin(settled)]
    found = found.sort_values(["point", "stack", "index", "entry"], kind="stable")
    affines = stacks[[*_SERIES, "stack", *AFFINE_COLUMNS]]
    found = found.merge(affines, on=[*_SERIES, "stack"], how="left", validate="many_to_one")
    position = _positions(found)
    for axis, column in enumerate(("x_mm", "y_mm", "z_mm")):
        found[column] = position[:, axis]
    return Candidates(found, _lost(asked, places, rejected, settled))


def _places(slices: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """All slices and copies with their ``named`` number; ``shared``: the header's is not alone.

    The name of a file of several slices says nothing of any of them.
    """
    columns = [*_PLACE, "instance_number", "file"]
    places = pd.concat([slices[columns], copies[columns]], ignore_index=True)
    places["instance_number"] = places["instance_number"].astype("Int64")
    alone = places.groupby([*_SERIES, "file"])["index"].transform("size") == 1
    places["named"] = name_numbers(places["file"]).where(alone)
    by_number = places.groupby([*_SERIES, "instance_number"])["file"]
    places["shared"] = by_number.transform("size") > 1
    return places.rename_axis("entry").reset_index()


def _positions(found: pd.DataFrame) -> NDArray[np.float64]:
    """(n, 3) LPS mm of each candidate."""
    affines = found[list(AFFINE_COLUMNS)].to_numpy(float).reshape(-1, 3, 4)
    pixels = found[["x_px", "y_px", "index"]].to_numpy(float)
    position: NDArray[np.float64] = (
        np.einsum("nij,nj->ni", affines[:, :, :3], pixels) + affines[:, :, 3]
    )
    return position


def _lost(
    asked: pd.DataFrame, places: pd.DataFrame, rejected: pd.DataFrame, settled: set[int]
) -> pd.Series:
    """The file named as each point's number that is no slice, for points that are not settled."""
    gone = rejected.loc[rejected["file"].notna(), [*_SERIES, "file"]].drop_duplicates()
    gone = gone.merge(places[[*_SERIES, "file"]].drop_duplicates(), how="left", indicator=True)
    gone = gone[gone["_merge"] == "left_only"].drop(columns="_merge")
    gone = gone.assign(asked=name_numbers(gone["file"])).dropna(subset="asked")
    gone = gone.drop_duplicates([*_SERIES, "asked"])
    lost = asked.merge(gone, on=[*_SERIES, "asked"], how="left").set_index("point")["file"]
    return lost.where(~lost.index.isin(settled))


def choose(candidates: Candidates, count: int) -> tuple[pd.DataFrame, pd.Series]:
    """The candidate of each of ``count`` points, and why there is none for the others.

    Returns the chosen rows of the candidates' table, and the words by point for those that
    are ambiguous; a point in neither has no slice at all.
    """
    table, lost = candidates
    by_point = table.groupby("point")
    position = by_point[["x_mm", "y_mm", "z_mm"]]
    spread = (position.max() - position.min()).max(axis=1)
    numbered = by_point["by_number"].any()
    # A name alone counts where the slice's header shares its number with others, and so cannot
    # be what the point's number goes by.
    by_name = ~numbered & by_point["shared"].all()
    sure = (spread <= SAME_PLACE_MM) & (numbered | by_name)
    sure &= lost.reindex(sure.index).isna()
    chosen = table[table["point"].isin(sure.index[sure])].drop_duplicates("point")
    open_points = table[~table["point"].isin(chosen["point"])]
    words = {
        int(point): _words(part, lost.get(point), float(spread[point]))
        for point, part in open_points.groupby("point")
    }
    return chosen, pd.Series(words, dtype="object").reindex(range(count))


def _words(candidates: pd.DataFrame, lost: object, spread_mm: float) -> str:
    """Why the slices that a number may mean do not come down to one."""
    numbered = candidates[candidates["by_number"]]
    named = candidates[candidates["by_name"]]
    if isinstance(lost, str):
        return f"{_files(numbered)} has that number, but {lost}, which is named so, was left out"
    if numbered.empty:
        others = ", ".join(map(str, named["instance_number"]))
        return f"no header has that number, and {_files(named)}, named so, has {others}"
    if len(named) and not (named["by_number"]).all():
        return f"{_files(numbered)} has that number, but another file, {_files(named)}, is named so"
    return (
        f"{len(numbered)} slices have that number ({_files(numbered)}), up to {spread_mm:.1f} mm "
        "apart, and no file name singles one out"
    )


def _files(slices: pd.DataFrame) -> str:
    files = list(dict.fromkeys(slices["file"]))
    more = f" and {len(files) - _MOST_FILES} more" if len(files) > _MOST_FILES else ""
    return ", ".join(files[:_MOST_FILES]) + more
