"""Contact sheets: what the graders see, by condition and grade."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from spinegrade.errors import SpinegradeError
from spinegrade.regions.lumbar_mri import CONDITIONS, GRADES
from spinegrade.report.parts import Sheet, Tile
from spinegrade.report.style import CONDITION_WORDS, GRADE_WORDS, cell_word, gray_uri
from spinegrade.runtime.arrays import open_array
from spinegrade.runtime.seeds import generator
from spinegrade.tables.files import read_table
from spinegrade.tables.rois import ROIS

COLUMNS = 12
LONGEST_PX = 112
# Smaller crops are enlarged: their labels need the room.
SHORTEST_PX = 80
GAP_PX = 4
LABEL_PX = 16


def read_crops(tables: list[str], arrays: list[str]) -> pd.DataFrame:
    """The index of a roi set's shards in one table, with the columns shard and array.

    ``array`` is the path of the shard's rois.npy, uint8 (n, slices, height, width).
    """
    parts = []
    for number, (table, array) in enumerate(zip(tables, arrays, strict=True)):
        parts.append(read_table(table, ROIS).assign(shard=number, array=array))
    return pd.concat(parts, ignore_index=True)


def _middle_slice(array: np.memmap, row: int) -> np.ndarray:
    crop = array[row, array.shape[1] // 2]
    longest = max(crop.shape)
    scale = min(max(longest, SHORTEST_PX), LONGEST_PX) / longest
    if scale != 1.0:
        size = (max(round(crop.shape[1] * scale), 1), max(round(crop.shape[0] * scale), 1))
        how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
        crop = cv2.resize(np.asarray(crop), size, interpolation=how)
    return np.asarray(crop, np.uint8)


def _sheet(heading: str, chosen: pd.DataFrame, opened: dict[str, np.memmap]) -> Sheet:
    rows = chosen.to_dict("records")
    crops = [_middle_slice(opened[row["array"]], int(row["row"])) for row in rows]
    height, width = crops[0].shape
    columns = min(COLUMNS, len(crops))
    lines = -(-len(crops) // columns)
    step_x, step_y = width + GAP_PX, height + LABEL_PX
    sheet = np.full((lines * step_y, columns * step_x - GAP_PX), 255, np.uint8)
    tiles = []
    for number, (row, crop) in enumerate(zip(rows, crops, strict=True)):
        x, y = number % columns * step_x, number // columns * step_y
        sheet[y : y + height, x : x + width] = crop
        label = cell_word(row["level"], row["side"])
        tiles.append(Tile(x, y, label, f"study {row['study']}, {label}"))
    source = gray_uri(sheet, longest_px=4096)
    return Sheet(source, heading, sheet.shape[1], sheet.shape[0], (width, height), tiles)


def contact_sheets(crops: pd.DataFrame, per_grade: int, seed: int) -> list[Sheet]:
    """A sheet a condition and grade of one roi set, of at most ``per_grade`` labelled crops.

    ``crops`` as ``read_crops`` gives. Crops are drawn without replacement on a stream of
    ``seed``; the middle slice of each is shown. Raises SpinegradeError for a table that points
    past the end of its array.
    """
    opened = {path: open_array(path) for path in crops["array"].unique()}
    for path, array in opened.items():
        rows = crops.loc[crops["array"] == path, "row"]
        if len(rows) and int(rows.max()) >= len(array):
            raise SpinegradeError(
                f"{path}: holds {len(array)} crops, its table names row {int(rows.max())}; "
                f"remove {Path(path).parent} and run crop_rois again",
                code="CROPS_ROWS",
            )
    sheets = []
    for condition in CONDITIONS:
        for grade in GRADES:
            here = crops[(crops["condition"] == condition) & (crops["grade"] == grade)]
            if here.empty or per_grade < 1:
                continue
            here = here.sort_values(["study", "level", "side"], kind="stable")
            random = generator(seed, "contact sheet", condition, grade)
            drawn = random.permutation(len(here))[:per_grade]
            heading = f"{CONDITION_WORDS[condition]}, {GRADE_WORDS[grade]}"
            heading += f" ({len(drawn)} of {len(here)})"
            sheets.append(_sheet(heading, here.iloc[np.sort(drawn)], opened))
    return sheets
