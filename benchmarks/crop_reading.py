"""Crops a second into a training step: this package's stores against the usual ways.

    python benchmarks/crop_reading.py [--studies 8] [--rounds 5] [--batch 4] [--work DIRECTORY]

Makes phantom studies at full matrix, converts them and writes what the rules write: the crops
around both recesses of each level (3 slices x 128 x 128 px of a frame of 720, ten a study, as the
published v24 axial model has them) and the axial sequences (6 x 3 slices x 256 x 256 px of a frame
of 512, one level a stack, as the published v2 model has them). The same windows are then read from
a compressed npz a stack, from PNG slices and from the stack's DICOM files. Readers take turns
within each round on the same batches, in one thread, up to the tensor that a step is given; files
are warm, and seconds are those of the processor, so that neighbours on the machine count little.
Before anything is timed every reader's windows are compared with the store's.

Exits with 1 where a ratio falls short: 5 times npz and PNG, 100 times DICOM.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from crop_rivals import Dicom, Item, NpzCrops, NpzVolume, Package, Pixels, Pngs, Source
from spinegrade.convert.landmarks import locate_landmarks
from spinegrade.convert.series import Converted, convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.crop.build import Jitter, crop_shard
from spinegrade.crop.sequences import axial_stacks, sequence_table, write_slices
from spinegrade.crop.settings import RoiSet, roi_set_from_config, sequence_from_config
from spinegrade.grade.cells.cells import open_store
from spinegrade.kaggle_rsna2024 import KAGGLE_SERIES, kaggle_condition, kaggle_level
from spinegrade.phantom.study import PhantomSettings, make_study
from spinegrade.regions.lumbar_mri import LUMBAR_MRI, SUBARTICULAR
from spinegrade.runtime.arrays import open_array
from spinegrade.sequences import choose_positions, with_neighbours
from spinegrade.tables.files import check_table, read_table, write_table
from spinegrade.tables.landmarks import LANDMARKS
from spinegrade.tables.rois import ROIS
from spinegrade.tables.sequences import SEQUENCES
from spinegrade.volumes import Stack, stacks_of_table

Readers = list[NpzVolume | NpzCrops | Pngs | Dicom | Package]
LEAST_S = 0.2
LEAST = {NpzVolume: 5, NpzCrops: 5, Pngs: 5, Dicom: 100}
RECESS = {
    "detector": "annotated",
    "conditions": ["subarticular"],
    "in_plane": {
        **{"unit": "frame_stretched", "size": 128, "output_px": 128},
        **{"margin_px": 0, "frame_px": 720},
    },
    "slices": {"count": 3, "margin": 0},
}
LEVELS = {
    **{"detector": "annotated", "unit": "frame_stretched"},
    **{"size": 256, "output_px": 256, "frame_px": 512},
}


class Cohort:
    """Converted phantom studies with their annotated points, tables as the rules write them."""

    def __init__(self, folder: Path, studies: int) -> None:
        self.folder, self.images = folder, folder / "images"
        converted, points = Converted(), []
        for number in range(studies):
            record = make_study(PhantomSettings(), "train", number, self.images)
            for series, description in record["series"]:
                place = self.images / record["study"] / series
                source = SeriesSource(
                    record["study"], series, "train", *KAGGLE_SERIES[description], place
                )
                converted.add(convert_series(source, folder, ConvertSettings()))
            points += [_landmark(row) for row in record["landmarks"]]
        tables = {kind: pd.DataFrame(getattr(converted, kind)) for kind in ("stacks", "slices")}
        landmarks = check_table(pd.DataFrame(points), LANDMARKS)
        located, _ = locate_landmarks(landmarks, tables["stacks"], tables["slices"])
        self.recess = located[located["condition"] == SUBARTICULAR]
        self.slices = tables["slices"]
        self.stacks = axial_stacks(stacks_of_table(tables["stacks"], folder))

    def source(self, stack: Stack, frame_px: int) -> Source:
        """The stack with its DICOM files, and a folder for rivals."""
        own = self.slices[
            (self.slices["series"] == stack.series)
            & (self.slices["stack"] == stack.stack)
            & (self.slices["study"] == stack.study)
        ].sort_values("index")
        place = self.images / stack.study / stack.series
        name = f"{stack.study}_{stack.series}_{stack.stack}_{frame_px}"
        folder = self.folder / "rivals" / name
        folder.mkdir(parents=True, exist_ok=True)
        return Source(stack, [place / file for file in own["file"]], folder, frame_px)


def _landmark(row: dict) -> dict:
    condition, side = kaggle_condition(row["condition"])
    return {
        **{"study": row["study_id"], "series": row["series_id"], "condition": condition},
        **{"level": kaggle_level(row["level"]), "side": side, "x_px": row["x"], "y_px": row["y"]},
        "instance_number": row["instance_number"],
    }


def recess_items(cohort: Cohort, folder: Path) -> tuple[list[Item], Readers]:
    """One item a stack: the crops of its recesses, from rois.npy."""
    roi_set: RoiSet = roi_set_from_config("recess", RECESS, LUMBAR_MRI)
    labels = cohort.recess[["study", "condition", "level", "side"]].assign(grade=0)
    crops, table = crop_shard(
        roi_set, cohort.recess, cohort.stacks, labels, None, Jitter(1, 0), LUMBAR_MRI
    )
    folder.mkdir()
    np.save(folder / "rois.npy", crops, allow_pickle=False)
    write_table(folder / "rois.parquet", table, ROIS)
    store, table = open_store(roi_set.shape, [folder / "rois.npy"], [folder / "rois.parquet"])
    items = []
    for stack in cohort.stacks:
        own = table[(table["series"] == stack.series) & (table["stack"] == stack.stack)]
        own = own[own["study"] == stack.study]
        if own.empty:
            continue
        frame = roi_set.in_plane.frame_px
        windows = []
        for x, y, index in own[["x_px", "y_px", "index"]].to_numpy(float):
            corner = [
                round((place + 0.5) * frame / length - 64)
                for place, length in ((x, stack.cols), (y, stack.rows))
            ]
            windows += [
                [int(np.clip(index + step, 0, stack.slices - 1)), *corner] for step in (-1, 0, 1)
            ]
        source = cohort.source(stack, frame)
        items.append(Item(source, np.array(windows), 128, own["place"].to_numpy(np.int64)))
    return items, [Package(store.take)]


def level_items(cohort: Cohort, folder: Path) -> tuple[list[Item], Readers]:
    """One item a stack, a level drawn of it: six slices with neighbours, from slices.npy."""
    sequence_set = sequence_from_config("levels", LEVELS)
    folder.mkdir()
    write_table(
        folder / "sequences.parquet",
        sequence_table(cohort.stacks, cohort.recess, None, None),
        SEQUENCES,
    )
    write_slices(folder / "slices.npy", sequence_set.in_plane, cohort.stacks)
    slices = open_array(folder / "slices.npy")
    by_key = {(s.study, s.series, s.stack): s for s in cohort.stacks}
    items = []
    table = read_table(folder / "sequences.parquet", SEQUENCES)
    drawn = table.groupby(["study", "series", "stack"]).sample(1, random_state=1)
    for row in drawn.to_dict("records"):
        stack = by_key[row["study"], row["series"], row["stack"]]
        chosen = with_neighbours(choose_positions(row["first"], row["last"]), stack.slices).ravel()
        corner = np.full((len(chosen), 2), (512 - 256) // 2)
        windows = np.concatenate([chosen[:, None], corner], axis=1)
        items.append(Item(cohort.source(stack, 512), windows, 256, row["start"] + chosen))

    def take(rows: np.ndarray) -> Pixels:
        # What neighbouring positions share is read once.
        own, place = np.unique(rows, return_inverse=True)
        return slices[own][place]

    return items, [Package(take)]


def compare(items: list[Item], readers: Readers) -> None:
    """Let every rival keep its files; stop where one reads other windows than the store."""
    for item in items:
        expected = readers[0].read(item).astype(float)
        for reader in readers:
            reader.keep(item)
            found = reader.read(item)
            assert found.shape == (len(item.windows), item.size, item.size), reader.name
            alike = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
            assert alike > 0.95, f"{reader.name}: correlation {alike:.2f} with the store's crops"


def seconds(reader: NpzVolume | Package, batches: list[list[Item]], least_s: float) -> float:
    """Processor seconds of one pass over the batches, of as many as ``least_s`` needs."""
    passes, began = 0, time.process_time()
    while passes == 0 or time.process_time() - began < least_s:
        for batch in batches:
            torch.from_numpy(np.concatenate([reader.read(item) for item in batch]))
        passes += 1
    return (time.process_time() - began) / passes


def measure(
    title: str, items: list[Item], readers: Readers, rounds: int, batch: int, crops: int
) -> bool:
    """Time the readers in turns and print a line each; whether all targets are met.

    ``crops`` is the number of windows of one crop.
    """
    random = np.random.default_rng(1)
    spent: dict[str, list[float]] = {reader.name: [] for reader in readers}
    for _ in range(rounds):
        order = random.permutation(len(items))
        batches = [
            [items[place] for place in order[start : start + batch]]
            for start in range(0, len(order), batch)
        ]
        for reader in readers:
            spent[reader.name].append(seconds(reader, batches, LEAST_S))
    number = sum(len(item.windows) for item in items) / crops
    own = spent[readers[0].name]
    print(f"\n{title}: {len(items)} items, {number:.0f} crops, {rounds} rounds")
    enough = True
    for reader in readers:
        ratios = [theirs / ours for theirs, ours in zip(spent[reader.name], own, strict=True)]
        rate = number / statistics.median(spent[reader.name])
        words = f"  {reader.name:38s}{rate:10,.0f} crops/s"
        if reader is not readers[0]:
            middle = statistics.median(ratios)
            words += f"   ratio {middle:.0f} ({min(ratios):.0f} to {max(ratios):.0f})"
            enough &= middle >= LEAST[type(reader)]
        print(words, flush=True)
    return enough


def main() -> int:
    """Make the cohort, compare, measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--work", type=Path, default=None, metavar="DIRECTORY")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        folder = Path(work)
        cohort = Cohort(folder, options.studies)
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        enough = True
        for title, make, windows in (
            ("recesses, 3 x 128 x 128", recess_items, 3),
            ("levels, 6 x 3 x 256 x 256", level_items, 18),
        ):
            items, readers = make(cohort, folder / make.__name__)
            readers += [NpzVolume(), NpzCrops(), Pngs(), Dicom()]
            compare(items, readers)
            enough &= measure(title, items, readers, options.rounds, options.batch, windows)
    return int(not enough)


if __name__ == "__main__":
    sys.exit(main())
