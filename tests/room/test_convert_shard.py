"""A shard: its tables, its cache, unsafe names; annotated points found through numbers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_helpers import AXIAL, SAGITTAL, voxels, write_stack
from spinegrade.convert import series as series_module
from spinegrade.convert.landmarks import locate_landmarks
from spinegrade.convert.shard import convert_shard
from spinegrade.tables.files import read_table, write_table
from spinegrade.tables.located_landmarks import LOCATED_LANDMARKS
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.series import SERIES
from spinegrade.tables.slices import SLICES
from spinegrade.tables.stacks import STACKS
from spinegrade.volumes import load_stacks


def cohort(tmp_path: Path, folders: dict[str, str] | None = None) -> Path:
    """Two studies of one shard, a third of another shard; the series table's path."""
    rows = []
    for study, shard in (("11", 0), ("12", 0), ("13", 1)):
        for series, plane in (("1", "sagittal"), ("2", "axial")):
            folder = f"train_images/{study}/{series}"
            orientation = SAGITTAL if plane == "sagittal" else AXIAL
            if not (tmp_path / folder).exists():
                write_stack(tmp_path / folder, voxels(4, 20, 16, seed=int(study)), orientation)
            rows.append(
                {
                    "study": study,
                    "series": series,
                    "split": "train",
                    "plane": plane,
                    "weighting": "t2",
                    "folder": (folders or {}).get(f"{study}/{series}", folder),
                    "file_count": 4,
                    "shard": shard,
                    "problem": None,
                }
            )
    write_table(tmp_path / "series.parquet", pd.DataFrame(rows), SERIES)
    return tmp_path / "series.parquet"


def run(tmp_path: Path, table: Path, shard: int = 0, code: str = "a") -> pd.DataFrame:
    convert_shard(table, shard, tmp_path, tmp_path / "convert", {}, code)
    return read_table(tmp_path / "convert" / str(shard) / "rejected.parquet", REJECTED)


def test_a_shard_holds_its_studies_and_their_volumes_open(tmp_path: Path) -> None:
    table = cohort(tmp_path)
    assert run(tmp_path, table).empty
    stacks = load_stacks([tmp_path / "convert" / "0" / "stacks.parquet"])
    assert [(s.study, s.series, s.plane) for s in stacks] == [
        ("11", "1", "sagittal"),
        ("11", "2", "axial"),
        ("12", "1", "sagittal"),
        ("12", "2", "axial"),
    ]
    assert stacks[1].open().shape == stacks[1].shape == (4, 20, 16)
    assert stacks[1].window(stacks[1].open()).dtype == np.uint8
    slices = read_table(tmp_path / "convert" / "0" / "slices.parquet", SLICES)
    assert len(slices) == 16


def test_only_what_changed_is_converted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = cohort(tmp_path)
    run(tmp_path, table)
    calls = []
    original = series_module.write_volume

    def counted(path: Path, *rest: object) -> None:
        calls.append(Path(path).parent.name)
        original(path, *rest)

    monkeypatch.setattr(series_module, "write_volume", counted)
    run(tmp_path, table)
    assert calls == []
    changed = tmp_path / "train_images" / "12" / "1" / "1.dcm"
    os.utime(changed, (1, 1))
    run(tmp_path, table)
    assert set(calls) == {"12"}
    calls.clear()
    (tmp_path / "convert" / "volumes" / "11" / "2_0.nii").unlink()
    (tmp_path / "convert" / "cache" / "12.json").write_text("{")
    run(tmp_path, table)
    assert set(calls) == {"11", "12"}
    calls.clear()
    run(tmp_path, table, code="b")
    assert set(calls) == {"11", "12"}


def test_volumes_that_no_row_names_any_more_are_removed(tmp_path: Path) -> None:
    table = cohort(tmp_path)
    run(tmp_path, table)
    volumes = tmp_path / "convert" / "volumes" / "11"
    assert sorted(path.name for path in volumes.iterdir()) == ["1_0.nii", "2_0.nii"]
    for path in (tmp_path / "train_images" / "11" / "2").iterdir():
        path.unlink()
    rejected = run(tmp_path, table)
    assert rejected[["study", "series", "code"]].to_numpy().tolist() == [["11", "2", "NO_FILES"]]
    assert [path.name for path in volumes.iterdir()] == ["1_0.nii"]


@pytest.mark.parametrize("folder", ["../../etc", "/etc", "train_images/../../x", "a//b"])
def test_a_folder_outside_the_cohort_is_refused(tmp_path: Path, folder: str) -> None:
    table = cohort(tmp_path, {"11/2": folder})
    rejected = run(tmp_path, table)
    assert rejected[["study", "series", "code"]].to_numpy().tolist() == [["11", "2", "UNSAFE_PATH"]]


def test_a_shard_without_studies_writes_empty_tables(tmp_path: Path) -> None:
    table = cohort(tmp_path)
    assert run(tmp_path, table, shard=5).empty
    assert load_stacks([tmp_path / "convert" / "5" / "stacks.parquet"]) == []


def landmark(instance: int, x: float, y: float, series: str = "2") -> dict[str, object]:
    return {
        "study": "11",
        "series": series,
        "instance_number": instance,
        "condition": "subarticular_stenosis",
        "level": "l4_l5",
        "side": "left",
        "x_px": x,
        "y_px": y,
    }


def test_landmarks_are_located_by_instance_number(tmp_path: Path) -> None:
    table = cohort(tmp_path)
    numbering = write_stack(
        tmp_path / "train_images" / "11" / "2", voxels(4, 20, 16), AXIAL, (-8, -9, 100), 4.0
    )
    run(tmp_path, table)
    folder = tmp_path / "convert" / "0"
    number = {place: number for number, place in numbering.items()}
    points = pd.DataFrame(
        [landmark(number[3], 10.0, 4.0), landmark(99, 1, 1), landmark(number[0], 16.0, 4.0)]
    )
    located, rejected = locate_landmarks(
        points,
        read_table(folder / "stacks.parquet", STACKS),
        read_table(folder / "slices.parquet", SLICES),
    )
    write_table(tmp_path / "located.parquet", located, LOCATED_LANDMARKS)
    write_table(tmp_path / "rejected.parquet", rejected, REJECTED)
    row = located.iloc[0]
    assert (row["stack"], row["index"], row["source"], row["confidence"]) == (0, 3, "annotated", 1)
    # By hand: 10 px of 0.5 mm from -8, 4 px from -9, three slices of 4 mm above 100.
    assert (row["x_mm"], row["y_mm"], row["z_mm"]) == pytest.approx((-3.0, -7.0, 112.0))
    assert rejected["code"].tolist() == ["LANDMARK_WITHOUT_SLICE", "LANDMARK_OUTSIDE_IMAGE"]
    assert "instance 99" in rejected["found"][0]
    assert "(16.0, 4.0) px in 16 x 20" in rejected["found"][1]
