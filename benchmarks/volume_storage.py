"""What it costs to keep converted volumes, and to read them, in one format or another.

Usage:
    python benchmarks/volume_storage.py [FOLDER ...] [--crops 200] [--rounds 3] [--work DIRECTORY]

Converts phantom studies at full matrix, and each FOLDER (one study, a folder of DICOM files a
series), then keeps the same volumes in every format and reads them back: one crop of 3 slices x 128
x 128 px, the file opened anew each time, and the whole volume. Formats take turns within each
round; every read is compared with the volume. DIRECTORY should lie on the disk that results
will be on (default: the folder for temporary files). Cold reads are those behind
posix_fadvise(DONTNEED); they are left out where the pages stay in memory all the same. (On a
virtual machine the host may still hold what the guest has dropped.)

Last, what the crops of the configured ROI sets weigh beside the volumes.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import ctypes
import importlib.util
import mmap
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from convert_inputs import phantom_studies, planes_of, true_slices
from spinegrade.convert.series import convert_series
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource
from spinegrade.crop.settings import roi_set_from_config
from spinegrade.geometry.affine import affine_from_columns
from spinegrade.regions.lumbar_mri import LUMBAR_CELLS, LUMBAR_MRI
from spinegrade.volumes import open_volume
from stores import Box, Store, Volume, stores

PROJECT = Path(__file__).resolve().parents[1]
CROP = (3, 128, 128)
# The competition's training studies: 147,218 slices at their own matrix, 16 bits each, summed
# from the public series inventory.
FULL_COHORT_GB, FULL_COHORT_STUDIES = 64.4, 1975


@dataclass
class Figures:
    """Of one format: bytes on disk, seconds of the runs that were made."""

    size: int = 0
    write_s: list[float] = field(default_factory=list)
    crop_s: list[float] = field(default_factory=list)
    cold_crop_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    cold_whole_s: list[float] = field(default_factory=list)


def converted(studies: list[Path], out: Path) -> list[Volume]:
    """Every stack of the studies, voxels in memory."""
    volumes = []
    for study in studies:
        truth = {item.name: true_slices(item) for item in sorted(study.iterdir())}
        for series, plane in planes_of(truth).items():
            source = SeriesSource(study.name, series, "train", plane, "t2", study / series)
            result = convert_series(source, out, ConvertSettings())
            for row in result.stacks:
                own = [item for item in result.slices if item["stack"] == row["stack"]]
                ordered = sorted(own, key=lambda item: item["index"])
                volumes.append(
                    Volume(
                        f"{study.name}_{series}_{row['stack']}",
                        np.array(open_volume(out / row["volume"])),
                        affine_from_columns(row),
                        # Series of one frame a file: the table does not number frames.
                        [(study / series / item["file"], 0) for item in ordered],
                    )
                )
    return volumes


def files_of(store: Store, volume: Volume, path: Path) -> list[Path]:
    return [path] if store.write else [file for file, _ in volume.files]


def forget_pages(paths: Iterable[Path]) -> None:
    """Ask the system to drop the pages of files from memory."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def resident_share(path: Path) -> float:
    """Share of a file's pages that are in memory, by mincore(2)."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        pages = np.zeros(-(-len(mapped) // mmap.PAGESIZE), np.uint8)
        view = np.frombuffer(mapped, np.uint8)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (view, pages)]
        size = ctypes.c_size_t(len(view))
        failed = ctypes.CDLL(None).mincore(pointers[0], size, pointers[1])
        del view
        return 1.0 if failed else float((pages & 1).mean())


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def random_box(volume: Volume, rng: np.random.Generator) -> Box:
    """A crop somewhere in a volume, as large as the volume allows."""
    parts = []
    for size, wanted in zip(volume.voxels.shape, CROP, strict=True):
        start = int(rng.integers(max(size - wanted, 0) + 1))
        parts.append(slice(start, start + min(wanted, size)))
    return parts[0], parts[1], parts[2]


def measure(volumes: list[Volume], folder: Path, crops: int, rounds: int) -> dict[str, Figures]:
    """Figures of every format, the formats taking turns."""
    formats = stores()
    found = {store.name: Figures() for store in formats}
    place = {
        (store.name, volume.name): folder / f"{number}_{volume.name}{store.suffix}"
        for number, store in enumerate(formats)
        for volume in volumes
    }
    for _ in range(rounds):
        for store in formats:
            if store.write:
                jobs = [partial(store.write, v, place[store.name, v.name]) for v in volumes]
                found[store.name].write_s.append(sum(seconds(job)[0] for job in jobs))
    for store in formats:
        found[store.name].size = sum(
            file.stat().st_size
            for volume in volumes
            for file in files_of(store, volume, place[store.name, volume.name])
        )
    read_all(volumes, place, found, crops, rounds, cold=False)
    everything = {
        f for s in formats for v in volumes for f in files_of(s, v, place[s.name, v.name])
    }
    forget_pages(everything)
    kept = statistics.mean(map(resident_share, everything))
    if kept < 0.05:
        read_all(volumes, place, found, crops // 4, 1, cold=True)
    else:
        print(f"no cold reads: {100 * kept:.0f} % of the pages stay in memory")
    return found


def read_all(
    volumes: list[Volume],
    place: dict[tuple[str, str], Path],
    found: dict[str, Figures],
    crops: int,
    rounds: int,
    cold: bool,
) -> None:
    """Crops and whole volumes of every format, in turns; warm reads all come before cold ones."""
    rng = np.random.default_rng(1)
    formats = stores()
    for _ in range(crops):
        volume = volumes[int(rng.integers(len(volumes)))]
        box = random_box(volume, rng)
        for store in formats:
            path = place[store.name, volume.name]
            read = partial(store.crop, path, volume, box)
            forget = files_of(store, volume, path) if cold else []
            spent = timed_read(read, volume.voxels[box], forget)
            figures = found[store.name]
            (figures.cold_crop_s if cold else figures.crop_s).append(spent)
    for _ in range(rounds):
        for store in formats:
            spent = 0.0
            for volume in volumes:
                path = place[store.name, volume.name]
                read = partial(store.whole, path, volume)
                forget = files_of(store, volume, path) if cold else []
                spent += timed_read(read, volume.voxels, forget)
            figures = found[store.name]
            (figures.cold_whole_s if cold else figures.whole_s).append(spent)


def timed_read(read: Callable[[], object], expected: np.ndarray, forget: list[Path]) -> float:
    """Seconds of a read: cold with files to forget, else warm. Compares what was read."""
    if forget:
        forget_pages(forget)
    else:
        read()
    spent, result = seconds(read)
    np.testing.assert_array_equal(result, expected)
    return spent


def show(title: str, volumes: list[Volume], found: dict[str, Figures]) -> None:
    """One line a format."""
    raw = sum(volume.voxels.nbytes for volume in volumes)
    print(f"\n{title}: {len(volumes)} stacks, {raw / 1e6:.0f} MB of voxels")
    heads = ("size", "full GB", "write MB/s", "crop ms", "cold", "whole MB/s", "cold")
    print(f"  {'':40s}" + "".join(f"{head:>11s}" for head in heads))
    for name, figures in found.items():
        cells = (
            f"{figures.size / raw:.3f}",
            f"{FULL_COHORT_GB * figures.size / raw:.0f}",
            rate(raw, figures.write_s),
            milliseconds(figures.crop_s),
            milliseconds(figures.cold_crop_s),
            rate(raw, figures.whole_s),
            rate(raw, figures.cold_whole_s),
        )
        print(f"  {name:40s}" + "".join(f"{cell:>11s}" for cell in cells))


def rate(size: int, values: list[float]) -> str:
    """MB/s at the median of some runs; "-" without one."""
    return f"{size / 1e6 / statistics.median(values):.0f}" if values else "-"


def milliseconds(values: list[float]) -> str:
    return f"{1e3 * statistics.median(values):.2f}" if values else "-"


def roi_bytes() -> int:
    """Bytes of one study's crops under the default configuration, with every cell cropped."""
    sets = yaml.safe_load((PROJECT / "workflow_config.yaml").read_text())["crop"]["sets"]
    total = 0
    for name, block in sets.items():
        roi_set = roi_set_from_config(name, block, LUMBAR_MRI)
        cells = sum(cell.condition in roi_set.conditions for cell in LUMBAR_CELLS)
        total += cells * int(np.prod(roi_set.stored_shape))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--crops", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--phantoms", type=int, default=2)
    parser.add_argument("--work", type=Path, default=None, metavar="DIRECTORY")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    absent = [n for n in ("blosc2", "zarr", "h5py") if importlib.util.find_spec(n) is None]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"not measured, since not in the environment: {', '.join(absent)}")
    work = Path(tempfile.mkdtemp(dir=options.work))
    try:
        phantoms = phantom_studies(work / "phantom", options.phantoms)
        given = {str(folder): [_copied(folder, work / "given")] for folder in options.folders}
        for title, studies in {f"{options.phantoms} phantom studies": phantoms, **given}.items():
            volumes = converted(studies, work / "convert")
            folder = work / "stores"
            folder.mkdir()
            show(title, volumes, measure(volumes, folder, options.crops, options.rounds))
            shutil.rmtree(folder)
        share = roi_bytes() * FULL_COHORT_STUDIES / 1e9
        print(
            f"\nROIs of the default configuration: {roi_bytes() / 1e6:.2f} MB a study, "
            f"{share:.1f} GB for the full cohort, {100 * share / FULL_COHORT_GB:.1f} % of volumes"
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copied(study: Path, folder: Path) -> Path:
    """The study on the disk that is measured, so that its pages can be dropped there."""
    return Path(shutil.copytree(study, folder / study.name))


if __name__ == "__main__":
    main()
