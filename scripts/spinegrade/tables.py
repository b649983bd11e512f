"""The tables that rooms exchange: one declared schema each, checked on write and on read.

Every table is Parquet. Identifiers are strings, never numbers; a missing grade is null.
Names end in their unit: ``_mm`` (patient coordinates, DICOM LPS: +x to the patient's left,
+y to the back, +z to the head) or ``_px`` (column for x, row for y; an integer is the
centre of a pixel, as DICOM's ImagePositionPatient has it).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pandera.pandas as pa
import pyarrow.parquet as pq
from pandera.errors import SchemaError, SchemaErrors
from pyarrow.lib import ArrowException

from spinegrade import names
from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import atomic_path


def _text(allowed: tuple[str, ...] | None = None, nullable: bool = False) -> pa.Column:
    checks = [pa.Check.isin(allowed)] if allowed else []
    return pa.Column("str", checks, nullable=nullable)


def _real(
    low: float | None = None,
    high: float | None = None,
    nullable: bool = False,
    required: bool = True,
) -> pa.Column:
    checks = []
    if low is not None:
        checks.append(pa.Check.ge(low))
    if high is not None:
        checks.append(pa.Check.le(high))
    return pa.Column("float64", checks, nullable=nullable, coerce=True, required=required)


def _whole(low: int | None = None, high: int | None = None, nullable: bool = False) -> pa.Column:
    checks = []
    if low is not None:
        checks.append(pa.Check.ge(low))
    if high is not None:
        checks.append(pa.Check.le(high))
    return pa.Column("Int64", checks, nullable=nullable, coerce=True)


_STUDY = {"study": _text()}
_STACK = {**_STUDY, "series": _text(), "stack": _whole(0)}
_CELL = {
    "condition": _text((*names.CONDITIONS, "fracture")),
    "level": _text((*names.LUMBAR_LEVELS, *(f"c{n}" for n in range(1, 8)))),
    "side": _text(names.SIDES),
}
_GRADE = {"grade": _whole(0, 2, nullable=True)}
_PROBABILITIES = {column: _real(0.0, 1.0) for column in names.PROBABILITY_COLUMNS}
_POINT_MM = {"x_mm": _real(), "y_mm": _real(), "z_mm": _real()}
_POINT = {
    **_STACK,
    "index": _whole(0),
    **_CELL,
    "x_px": _real(),
    "y_px": _real(),
    **_POINT_MM,
    "confidence": _real(0.0, 1.0),
    "source": _text(),
}
_SPLIT = {"split": _text(("train", "test"))}
_PREDICTION = {
    **_STUDY,
    **_CELL,
    **_PROBABILITIES,
    "classifier": _text(),
    "fold": _whole(0, nullable=True),
}

SCHEMAS: dict[str, dict[str, pa.Column]] = {
    # One row a study; problem names why a study is left out (null: used).
    "studies": {
        **_STUDY,
        **_SPLIT,
        "region": _text(("lumbar", "cervical")),
        "shard": _whole(0),
        "series_count": _whole(0),
        "problem": _text(nullable=True),
    },
    # One row a series as delivered; folder is relative to the cohort's root.
    "series": {
        **_STUDY,
        "series": _text(),
        **_SPLIT,
        "plane": _text(names.PLANES),
        "weighting": _text(names.WEIGHTINGS),
        "folder": _text(),
        "file_count": _whole(0),
        "shard": _whole(0),
        "problem": _text(nullable=True),
    },
    # One row a cell of every training study, missing grades included as null.
    "labels": {**_STUDY, **_CELL, **_GRADE},
    # Annotated points as delivered: instance number and pixels only.
    "landmarks": {
        **_STUDY,
        "series": _text(),
        "instance_number": _whole(0),
        **_CELL,
        "x_px": _real(),
        "y_px": _real(),
    },
    "folds": {**_STUDY, "fold": _whole(0), "stratum": _whole(0)},
    # One row a volume. affine_00 .. affine_23 map (x_px, y_px, index, 1) to LPS mm, row by row.
    # Voxels from padding_low to padding_high are no part of the picture; null: there are none.
    "stacks": {
        **_STACK,
        **_SPLIT,
        "plane": _text(names.PLANES),
        "weighting": _text(names.WEIGHTINGS),
        "slices": _whole(1),
        "rows": _whole(1),
        "cols": _whole(1),
        "row_spacing_mm": _real(0.0),
        "col_spacing_mm": _real(0.0),
        "slice_spacing_mm": _real(0.0),
        # how far the axes are from right angles; the affine holds it, a qform cannot
        "shear_degrees": _real(0.0, 90.0),
        **{f"affine_{row}{column}": _real() for row in range(3) for column in range(4)},
        "intensity_low": _real(),
        "intensity_high": _real(),
        "padding_low": _real(nullable=True, required=False),
        "padding_high": _real(nullable=True, required=False),
        "volume": _text(),
    },
    "slices": {
        **_STACK,
        "index": _whole(0),
        "instance_number": _whole(0),
        "file": _text(),
        "position_mm": _real(),
        "orientation": _text(),
    },
    # One row a slice that was left out as an exact copy of a kept one, whose place it names: a
    # point on the copy belongs there.
    "copies": {
        **_STACK,
        "index": _whole(0),
        "instance_number": _whole(0),
        "file": _text(),
    },
    # code: one of convert's documented refusals; action says what to do.
    "rejected": {
        **_STUDY,
        "series": _text(nullable=True),
        "file": _text(nullable=True),
        "code": _text(),
        "found": _text(),
        "action": _text(),
    },
    # What conversion will make of a series as delivered, told from headers. codes: joined by
    # commas. The geometry is that of the volume with most slices, null where there is none.
    "verdicts": {
        **_STUDY,
        "series": _text(),
        **_SPLIT,
        "plane": _text(names.PLANES),
        "weighting": _text(names.WEIGHTINGS),
        "verdict": _text(("good", "partial", "refused")),
        "codes": _text(),
        "files": _whole(0),
        "slices": _whole(0),
        "volumes": _whole(0),
        "rows": _whole(1, nullable=True),
        "cols": _whole(1, nullable=True),
        "row_spacing_mm": _real(0.0, nullable=True),
        "col_spacing_mm": _real(0.0, nullable=True),
        "slice_spacing_mm": _real(0.0, nullable=True),
        "tilt_degrees": _real(0.0, 90.0, nullable=True),
    },
    # One row a point and code: what contradicts in the annotated points. left_out: whether the
    # point is left out of training (for this code or another one of its own).
    "annotations": {
        **_STUDY,
        "series": _text(),
        "instance_number": _whole(0),
        **_CELL,
        "code": _text(),
        "found": _text(),
        "expected": _text(),
        "left_out": pa.Column("bool", coerce=True),
    },
    # Landmarks after convert (located) and keypoints: the same columns.
    "located_landmarks": _POINT,
    "keypoints": _POINT,
    # One row a crop. row: its place in rois.npy (slice axis second). affine_00 .. affine_23
    # map the crop's (x_px, y_px, slice offset, 1) to LPS mm. jitter_*: standard deviations
    # that training draws from, measured from the detector's out-of-fold error.
    "rois": {
        **_POINT,
        "roi_set": _text(),
        "row": _whole(0),
        "jitter_in_plane_mm": _real(0.0),
        "jitter_slices": _real(0.0),
        **_GRADE,
        "fold": _whole(0, nullable=True),
        **{f"affine_{row}{column}": _real() for row in range(3) for column in range(4)},
    },
    # One row a level that an axial stack shows. start: where the stack's index 0 lies in
    # slices.npy; z_index, first and last (inclusive) are indices of the stack. *_graded: whether
    # the stack has an annotated point of that side at the level (null: a new study).
    "sequences": {
        **_STACK,
        "start": _whole(0),
        "slices": _whole(1),
        "level": _CELL["level"],
        "z_index": _real(),
        "first": _whole(0),
        "last": _whole(0),
        "left_graded": pa.Column("boolean", nullable=True, coerce=True),
        "right_graded": pa.Column("boolean", nullable=True, coerce=True),
        "confidence": _real(0.0, 1.0),
        "source": _text(),
        "fold": _whole(0, nullable=True),
    },
    # Out-of-fold (fold set) and new (fold null) predictions of one classifier.
    "predictions": _PREDICTION,
    # What the ensemble makes of all members. source: whose numbers these are; members: those that
    # have a weight and graded the cell, joined by commas, none where source is "prior";
    # prior_weight: the prior's share of the weights, what it holds for members that lack the cell
    # included.
    "probabilities": {
        **_PREDICTION,
        "source": _text(names.SOURCES),
        "members": _text(),
        "prior_weight": _real(0.0, 1.0),
    },
    # What the phantom knows and nothing but scoring and tests may read.
    "truth": {
        **_STUDY,
        **_CELL,
        "narrowing": _real(0.0, 1.0),
        **_PROBABILITIES,
        **_GRADE,
        "mislabelled": pa.Column("bool", coerce=True),
        **_POINT_MM,
        "anatomy": _text(("typical", "four_lumbar", "six_lumbar")),
    },
}

KEYS: dict[str, list[str]] = {
    "studies": ["study"],
    "series": ["study", "series"],
    "labels": ["study", "condition", "level", "side"],
    "folds": ["study"],
    "stacks": ["study", "series", "stack"],
    "slices": ["study", "series", "stack", "index"],
    "verdicts": ["study", "series"],
    "rois": ["roi_set", "row"],
    "sequences": ["study", "series", "stack", "level"],
    "truth": ["study", "condition", "level", "side"],
    "predictions": ["classifier", "study", "condition", "level", "side"],
    "probabilities": ["study", "condition", "level", "side"],
}


def check_table(table: pd.DataFrame, kind: str, where: str | Path = "") -> pd.DataFrame:
    """Return ``table`` with its columns in schema order and types; refuse what does not fit.

    Raises SpinegradeError that names the file, the column, the first offending row and value.
    Columns outside the schema are refused: a misspelt one would be lost silently. Those that the
    schema does not require are null where they are absent.
    """
    columns = SCHEMAS[kind]
    absent = {c: None for c, rule in columns.items() if not rule.required and c not in table}
    if absent:
        table = table.assign(**absent)
    place = f"{where} ({kind} table)" if where else f"{kind} table"
    missing = [c for c in columns if c not in table.columns]
    surplus = [c for c in table.columns if c not in columns]
    if missing or surplus:
        raise SpinegradeError(
            f"{place}: missing columns {missing}, unknown columns {surplus}; "
            f"expected exactly {list(columns)}",
            code="TABLE_COLUMNS",
        )
    table = table[list(columns)].reset_index(drop=True)
    for column, rule in columns.items():
        if str(rule.dtype).startswith("str"):
            table[column] = table[column].astype("str")
    try:
        table = pa.DataFrameSchema(columns).validate(table)
    except (SchemaError, SchemaErrors) as error:
        raise SpinegradeError(f"{place}: {error}", code="TABLE_VALUES") from error
    key = KEYS.get(kind)
    if key:
        repeated = table[table.duplicated(key)]
        if len(repeated):
            row = repeated.iloc[0]
            raise SpinegradeError(
                f"{place}: row {repeated.index[0]} repeats "
                + ", ".join(f"{c}={row[c]}" for c in key)
                + "; each combination may appear once",
                code="TABLE_ROW_TWICE",
            )
    return table


def write_table(path: str | Path, table: pd.DataFrame, kind: str) -> None:
    """Check ``table`` against the schema ``kind`` and write it atomically as Parquet."""
    table = check_table(table, kind, path)
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: str | Path, kind: str) -> pd.DataFrame:
    """Read one Parquet table and check it against the schema ``kind``."""
    if not Path(path).exists():
        raise SpinegradeError(
            f"{path}: no such {kind} table; run the rule that makes it", code="TABLE_MISSING"
        )
    return check_table(_read(path), kind, path)


def _read(path: str | Path) -> pd.DataFrame:
    try:
        return pq.read_table(path).to_pandas()
    except (ArrowException, OSError) as error:
        raise SpinegradeError(
            f"{path}: no Parquet table that can be read ({error}); remove it and run again",
            code="TABLE_UNREADABLE",
        ) from error


def read_tables(paths: list[str] | list[Path], kind: str) -> pd.DataFrame:
    """Read the shards of one table and join them, checked once, in the order given."""
    parts = [_read(path) for path in paths]
    joined = pd.concat([p for p in parts if len(p)] or parts[:1], ignore_index=True)
    return check_table(joined, kind, f"{len(parts)} shards of {Path(str(paths[0])).parent}")


def empty_table(kind: str) -> pd.DataFrame:
    """A table of ``kind`` without rows."""
    return check_table(pd.DataFrame(columns=list(SCHEMAS[kind])), kind)
