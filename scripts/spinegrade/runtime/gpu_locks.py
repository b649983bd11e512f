"""Lock files of GPUs: one a device, in a folder that only its user may write to."""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError

FOLDER_VARIABLE = "SPINEGRADE_GPU_LOCKS"
# Set for the programs that a job starts, so that those that outlive it are found.
LEASE_VARIABLE = "SPINEGRADE_GPU_LEASE"
DEVICE_FILES = "/dev/nvidia"
# What is written into a lock's file about the job that has it.
RECORD = frozenset(("lease", "host", "pid", "started", "slurm_job", "rule", "since"))


class Locks:
    """The lock files that a job holds, in a folder that only its user may write to."""

    def __init__(self) -> None:
        # Not TMPDIR and not the login session's folder: all of a user's runs must meet here.
        given = os.environ.get(FOLDER_VARIABLE)
        self.folder = Path(given or f"/tmp/spinegrade-{os.geteuid()}")
        self._held: dict[str, int] = {}
        remedy = f"name an empty or new folder of your own in {FOLDER_VARIABLE}"
        try:
            with suppress(FileExistsError):
                self.folder.mkdir(mode=0o700)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            self._handle = os.open(self.folder, flags)
        except OSError as error:
            raise SpinegradeError(
                f"{self.folder}, the folder of GPU locks, cannot be made or opened "
                f"({error.strerror}); {remedy}",
                code="GPU_LOCKS",
            ) from error
        state = os.fstat(self._handle)
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            os.close(self._handle)
            raise SpinegradeError(
                f"{self.folder}, the folder of GPU locks, belongs to user {state.st_uid} or can be "
                f"written to by others; {remedy}",
                code="GPU_LOCKS",
            )

    def take(self, key: str) -> bool:
        """Lock ``key`` if nobody has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        handle = os.open(self._file(key), flags, 0o600, dir_fd=self._handle)
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A lock on a file that was removed in between keeps nobody out.
            current = os.stat(self._file(key), dir_fd=self._handle)
            if os.fstat(handle).st_ino == current.st_ino:
                self._held[key] = handle
                return True
        os.close(handle)
        return False

    def holds(self, key: str) -> bool:
        """Whether this job has ``key``."""
        return key in self._held

    def free(self, key: str) -> None:
        """Close this process's part of a lock; processes forked from it keep theirs."""
        os.close(self._held.pop(key))

    def close(self) -> None:
        """Free all."""
        for key in list(self._held):
            self.free(key)
        os.close(self._handle)

    def write(self, key: str, record: dict[str, Any]) -> None:
        """Say in a held lock's file who has it."""
        os.ftruncate(self._held[key], 0)
        os.pwrite(self._held[key], json.dumps(record).encode(), 0)

    def read(self, key: str) -> dict[str, Any]:
        """What was last written to a lock's file; empty where that cannot be read."""
        try:
            record = json.loads((self.folder / self._file(key)).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) and record.keys() >= RECORD else {}

    @staticmethod
    def _file(key: str) -> str:
        return re.sub(r"[^A-Za-z0-9._-]", "_", key) + ".lock"


def left_behind(record: dict[str, Any]) -> list[int]:
    """Programs that an ended job started and that still have an NVIDIA device open."""
    if not record or not Path("/proc").is_dir():
        return []
    mark = f"{LEASE_VARIABLE}={record['lease']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end while one looks, and others' cannot be looked into.
        with suppress(OSError):
            if mark not in (process / "environ").read_bytes().split(b"\0"):
                continue
            files = [str(link.readlink()) for link in (process / "fd").iterdir()]
            if any(file.startswith(DEVICE_FILES) for file in files):
                found.append(int(process.name))
    return found
