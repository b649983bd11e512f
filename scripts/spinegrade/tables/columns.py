"""Columns of a table by type, and those that many kinds of table share."""

from __future__ import annotations

import pandera.pandas as pa


def text(allowed: tuple[str, ...] | None = None, nullable: bool = False) -> pa.Column:
    """A column of text, of the ``allowed`` values where these are given."""
    checks = [pa.Check.isin(allowed)] if allowed else []
    return pa.Column("str", checks, nullable=nullable)


def real(
    low: float | None = None,
    high: float | None = None,
    nullable: bool = False,
    required: bool = True,
) -> pa.Column:
    """A column of float64 from ``low`` to ``high``; one that is not ``required`` may be absent."""
    checks = []
    if low is not None:
        checks.append(pa.Check.ge(low))
    if high is not None:
        checks.append(pa.Check.le(high))
    return pa.Column("float64", checks, nullable=nullable, coerce=True, required=required)


def whole(low: int | None = None, high: int | None = None, nullable: bool = False) -> pa.Column:
    """A column of Int64 from ``low`` to ``high``."""
    checks = []
    if low is not None:
        checks.append(pa.Check.ge(low))
    if high is not None:
        checks.append(pa.Check.le(high))
    return pa.Column("Int64", checks, nullable=nullable, coerce=True)


STUDY = {"study": text()}
STACK = {**STUDY, "series": text(), "stack": whole(0)}
SPLIT = {"split": text(("train", "test"))}
POINT_MM = {"x_mm": real(), "y_mm": real(), "z_mm": real()}
# affine_00 .. affine_23 map (x_px, y_px, index, 1) to LPS mm, row by row.
AFFINE = {f"affine_{row}{column}": real() for row in range(3) for column in range(4)}
