"""Converts cohorts named on its input, one a line, within limits; answers with what they took.

Run by test_convert_bounds.py: peak memory and time are those of a process of its own.
"""

from __future__ import annotations

import ctypes
import json
import resource
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from spinegrade.convert.settings import ConvertSettings
from spinegrade.convert.shard import convert_shard
from spinegrade.tables.files import read_table
from spinegrade.tables.rejected import REJECTED
from spinegrade.tables.stacks import STACKS

ADDRESS_SPACE_MB = 6000
# Of the processor: three times what a file may take.
ENDLESS_S = 15.0


def memory_mb(field: str) -> float:
    """VmHWM (the peak) or VmRSS of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise ValueError(field)


def give_up(*_: object) -> None:
    """Called when a conversion has had the processor for too long."""
    raise TimeoutError(f"not done within {ENDLESS_S:.0f} s of the processor")


def convert(root: Path, settings: ConvertSettings) -> dict[str, object]:
    # What an earlier conversion has freed must not count as there already.
    ctypes.CDLL(None).malloc_trim(0)
    # 5: forget the peak so far (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before, began, error = memory_mb("VmRSS"), time.process_time(), ""
    signal.setitimer(signal.ITIMER_PROF, ENDLESS_S)
    try:
        convert_shard(root / "series.parquet", 0, root, root / "out", asdict(settings), "code")
    except BaseException:
        error = traceback.format_exc()[-1500:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    answer = {"seconds": time.process_time() - began, "peak_mb": memory_mb("VmHWM") - before}
    if error:
        return answer | {"error": error}
    rejected = read_table(root / "out/0/rejected.parquet", REJECTED)
    stacks = read_table(root / "out/0/stacks.parquet", STACKS)
    return answer | {
        "error": "",
        "rejected": rejected[["file", "code", "found"]].to_dict("records"),
        "slices": int(stacks["slices"].sum()),
        "stacks": len(stacks),
    }


def main() -> None:
    """Answer each line (folder and settings) with one line of JSON."""
    signal.signal(signal.SIGPROF, give_up)
    limit = ADDRESS_SPACE_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        settings = ConvertSettings(**asked["settings"])
        print(json.dumps(convert(Path(asked["root"]), settings)), flush=True)


if __name__ == "__main__":
    main()
