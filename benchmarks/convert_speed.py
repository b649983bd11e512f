"""How fast series become volumes, against other readers and against merely reading the bytes.

Usage:
    python benchmarks/convert_speed.py FOLDER [--rounds 5] [--copies 8]

FOLDER holds one study: a folder of DICOM files a series, such as train_images/<study> of a
phantom cohort or of the RSNA 2024 data. It is copied ``--copies`` times into memory
(/dev/shm where there is one), as it is and uncompressed, and every method converts the same
warm files to uncompressed NIfTI, in rounds that interleave the methods. Printed are the
median decoded MB/s, one process each, then this room with two processes, then peak memory.
dicom2nifti and dcm2niix take part where they are installed. Voxels of this room and of
SimpleITK are compared slice by slice.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "scripts"))

from spinegrade.convert.header import read_frames  # noqa: E402
from spinegrade.convert.pixels import Scratch  # noqa: E402
from spinegrade.convert.plan import plan_series  # noqa: E402
from spinegrade.convert.series import SeriesSource, convert_series  # noqa: E402
from spinegrade.convert.settings import ConvertSettings  # noqa: E402
from spinegrade.volumes import open_volume  # noqa: E402

SETTINGS = ConvertSettings()
SCRATCH = Scratch()


def plane_of(series: Path) -> str:
    """The plane that a series lies in, since no table describes it here."""
    first = sorted(series.iterdir())[0]
    orientation = read_frames(first, SETTINGS.max_frame_mb)[0].orientation
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    return "sagittal" if normal.argmax() == 0 else "axial"


def read_bytes(series: Path, out: Path) -> None:
    for path in series.iterdir():
        path.read_bytes()


def spinegrade(series: Path, out: Path) -> None:
    study = series.parent.name
    source = SeriesSource(study, series.name, "train", PLANES[series.name], "t2", series)
    convert_series(source, out, SETTINGS, SCRATCH)


def simpleitk(series: Path, out: Path) -> None:
    names = sorted(map(str, series.iterdir()))
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(series)) or names
    image = SimpleITK.ReadImage(names)
    SimpleITK.WriteImage(image, str(out / f"{series.parent.name}_{series.name}.nii"))


def pydicom_loop(series: Path, out: Path) -> None:
    slices = [pydicom.dcmread(path) for path in series.iterdir()]
    slices.sort(key=lambda item: int(item.InstanceNumber))
    volume = np.stack([item.pixel_array for item in slices])
    with (out / f"{series.parent.name}_{series.name}.raw").open("wb") as file:
        volume.tofile(file)


def dicom2nifti(series: Path, out: Path) -> None:
    import dicom2nifti.convert_dicom as peer

    target = out / f"{series.parent.name}_{series.name}.nii"
    try:
        peer.dicom_series_to_nifti(str(series), str(target), reorient_nifti=False)
    except Exception as error:
        # It refuses series of several stacks; that refusal is its answer.
        print(f"  dicom2nifti refuses {series.name}: {error}", file=sys.stderr)


def dcm2niix(series: Path, out: Path) -> None:
    command = [shutil.which("dcm2niix") or "dcm2niix", "-z", "n", "-b", "n", "-w", "1"]
    subprocess.run([*command, "-o", str(out), str(series)], check=False, capture_output=True)


def methods() -> dict[str, Callable[[Path, Path], None]]:
    found = {
        "reading the bytes": read_bytes,
        "spinegrade": spinegrade,
        "SimpleITK series reader": simpleitk,
        "pydicom loop to raw": pydicom_loop,
    }
    if importlib.util.find_spec("dicom2nifti"):
        found["dicom2nifti"] = dicom2nifti
    if shutil.which("dcm2niix"):
        found["dcm2niix"] = dcm2niix
    return found


def prepare(study: Path, work: Path, copies: int) -> dict[str, list[Path]]:
    """Series folders of the copied study, as delivered and uncompressed."""
    sets: dict[str, list[Path]] = {"as delivered": [], "uncompressed": []}
    for kind, folders in sets.items():
        for number in range(copies):
            target = work / kind.replace(" ", "_") / str(number)
            shutil.copytree(study, target)
            for path in target.rglob("*") if kind == "uncompressed" else ():
                if path.is_file():
                    dataset = pydicom.dcmread(path)
                    if dataset.file_meta.TransferSyntaxUID.is_compressed:
                        dataset.decompress(generate_instance_uid=False)
                    dataset.save_as(path)
            folders += sorted(path for path in target.iterdir() if path.is_dir())
    return sets


def timed(method: Callable[[Path, Path], None], folders: list[Path], out: Path) -> float:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    began = time.perf_counter()
    for series in folders:
        method(series, out)
    return time.perf_counter() - began


def convert_all(folders: list[Path], out: Path) -> None:
    for series in folders:
        spinegrade(series, out)


def agree(folders: list[Path], out: Path) -> int:
    """Slices whose voxels are those that SimpleITK reads; raises where one differs."""
    count = 0
    for series in folders:
        study = series.parent.name
        source = SeriesSource(study, series.name, "train", PLANES[series.name], "t2", series)
        result = convert_series(source, out, SETTINGS)
        volumes = [open_volume(out / row["volume"]) for row in result.stacks]
        for row in result.slices:
            image = SimpleITK.ReadImage(str(series / row["file"]))
            mine = volumes[row["stack"]][row["index"]]
            np.testing.assert_array_equal(mine, SimpleITK.GetArrayFromImage(image)[0])
            count += 1
    return count


PLANES: dict[str, str] = {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=8)
    options = parser.parse_args()
    memory = Path("/dev/shm")
    work = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        sets = prepare(options.folder, work, options.copies)
        PLANES.update({series.name: plane_of(series) for series in sets["as delivered"]})
        for kind, folders in sets.items():
            report(kind, folders, work / "out", options.rounds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory of this process, all methods: {peak:.0f} MB")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def decoded_megabytes(folders: list[Path]) -> float:
    total = 0
    for series in folders:
        frames = [f for p in series.iterdir() for f in read_frames(p, SETTINGS.max_frame_mb)]
        plan_series(frames, PLANES[series.name], SETTINGS)
        total += sum(f.pixels.rows * f.pixels.cols * f.pixels.bits_allocated // 8 for f in frames)
    return total / 1e6


def report(kind: str, folders: list[Path], out: Path, rounds: int) -> None:
    megabytes = decoded_megabytes(folders)
    print(f"{kind}: {len(folders)} series, {megabytes:.0f} MB decoded")
    print(f"  {agree(folders[:3], out)} slices hold the voxels that SimpleITK reads")
    seconds: dict[str, list[float]] = {name: [] for name in methods()}
    for _ in range(rounds):
        for name, method in methods().items():
            seconds[name].append(timed(method, folders, out))
    for name, values in seconds.items():
        print(f"  {name:26s} {megabytes / statistics.median(values):8.0f} MB/s")
    halves = [folders[::2], folders[1::2]]
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(convert_all, halves, [out / "a", out / "b"]))  # imports and caches warm
        values = []
        for _ in range(rounds):
            began = time.perf_counter()
            list(pool.map(convert_all, halves, [out / "a", out / "b"]))
            values.append(time.perf_counter() - began)
    print(f"  {'spinegrade, two processes':26s} {megabytes / statistics.median(values):8.0f} MB/s")


if __name__ == "__main__":
    main()
