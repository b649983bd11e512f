"""Peak memory of a process that converts one series and does nothing else.

Usage:
    python benchmarks/convert_memory.py SERIES_FOLDER sagittal|axial

Prints JSON: the peak in MB with the imports of a convert_dicom job alone, and with the series
converted. ``convert_speed.py`` runs it for series of known sizes.

The peak is VmHWM of /proc/self/status. ru_maxrss of getrusage would not do: a child inherits
its parent's through fork and exec, so that a large parent hides a small child.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from spinegrade.convert import shard
from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.source import SeriesSource


def peak_mb() -> float:
    """The greatest resident memory of this process so far, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc/self/status has no VmHWM: this benchmark needs Linux")


def main() -> None:
    folder, plane = Path(sys.argv[1]).resolve(), sys.argv[2]
    imported = peak_mb()
    source = SeriesSource(folder.parent.name, folder.name, "train", plane, "t2", folder)
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        result = shard.convert_series(source, Path(out), ConvertSettings())
    print(
        json.dumps(
            {"imports_mb": imported, "peak_mb": peak_mb(), "slices": len(result.slices)},
        )
    )


if __name__ == "__main__":
    main()
