"""One GPU a job: a lock file for each device, freed by the kernel when the job is gone.

Snakemake counts GPU jobs and does not tell them which device is theirs. A job takes devices here
for as long as it lives, and sees no other. The lock is the kernel's (``flock``), so it ends however
the job dies; what an ended job left written in a lock file only tells whose it was. Processes
forked from a job share its lock, as they share the memory it holds on the device. Programs that it
started do not, unless they have an NVIDIA device open.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.gpu_locks import LEASE_VARIABLE, Locks, left_behind
from spinegrade.runtime.gpu_pool import VISIBLE, Device, Pool, find_pool
from spinegrade.runtime.processes import is_alive, this_process

_LOGGER = logging.getLogger("spinegrade")
WAIT_S = 24 * 3600.0
_RETRY_S = (0.05, 0.25)
# A job that waits says so after the first, and again after each of the second.
_QUIET_S, _REMIND_S = 1.0, 600.0


@contextmanager
def lease_devices(
    count: int, rule: str, device: str = "auto", wait_s: float = WAIT_S
) -> Iterator[tuple[str, ...]]:
    """Hold ``count`` GPUs for the block and let CUDA see no other; yield their names.

    Must be entered before CUDA is used. ``device`` is ``auto`` (the CPU where there is no GPU),
    ``cuda`` or ``cpu``. On the CPU, and with a ``count`` of 0, nothing is held, CUDA sees no
    device and no name is given. Devices that SLURM allotted without naming them stay as they are.

    Raises SpinegradeError where fewer than ``count`` exist, where ``device`` is ``cuda`` and there
    are none, and after ``wait_s`` seconds in which not enough of them were free.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise RuntimeError("CUDA was used before its device was leased")
    pool = find_pool() if count and device != "cpu" else None
    if pool is not None and pool.untouched:
        _LOGGER.info("the devices of %s are used as they are", pool.source)
        yield ()
        return
    if not pool:
        if pool is not None and device == "cuda":
            raise SpinegradeError(_no_gpu(pool), code="GPU_NONE", key="runtime.device")
        if count:
            why = f"no GPU: {pool.source}" if pool is not None else "runtime.device is cpu"
            _LOGGER.info("this job runs on the CPU (%s)", why)
        with _variables({VISIBLE: ""}):
            yield ()
        return
    if count > len(pool):
        raise SpinegradeError(
            f"{rule} asks for {count} GPUs, but there are {len(pool)} ({pool.source}); lower the "
            f"rule's gpu resource (--set-resources {rule}:gpu={len(pool)})",
            code="GPU_TOO_FEW",
        )
    lease = {
        "lease": uuid.uuid4().hex,
        **this_process(),
        "rule": rule,
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    locks = Locks()
    try:
        devices = _wait_for(locks, pool, count, lease, wait_s)
        names = tuple(device.name for device in devices)
        _LOGGER.info("this job runs on GPU %s (%s)", ", ".join(names), pool.source)
        with _variables({VISIBLE: ",".join(names), LEASE_VARIABLE: lease["lease"]}):
            yield names
    finally:
        locks.close()


def gpus_of_a_job(device: str) -> int:
    """The ``gpu`` resource of a rule that needs a device, on the machine that runs the workflow.

    0 where its jobs run on the CPU, so that the limit for GPUs does not hold them back there.
    """
    if device != "auto":
        return int(device == "cuda")
    pool = find_pool()
    return 1 if pool or pool.untouched else 0


def no_gpu_for(device: str) -> str | None:
    """A refusal of jobs that need a GPU here, where ``device`` is cuda and there is none."""
    pool = find_pool() if device == "cuda" else None
    return None if pool is None or pool or pool.untouched else _no_gpu(pool)


def check_gpu_limit(limit: int | None, device: str) -> str | None:
    """A sentence for the start of a local run whose ``--resources gpu=limit`` fits badly, or None.

    ``limit`` is None where nothing limits GPU jobs.
    """
    pool = find_pool() if device != "cpu" else None
    if pool is None or pool.untouched:
        return None
    if not pool:
        # With cuda no job is left that needs one: the run was refused otherwise.
        if device == "cuda":
            return None
        return f"There is no GPU ({pool.source}): training and inference run on the CPU."
    if limit is not None and limit <= len(pool):
        return None
    given = "No gpu limit is given" if limit is None else f"The gpu limit is {limit}"
    return (
        f"{given}, but there {'is' if len(pool) == 1 else 'are'} {len(pool)} ({pool.source}): "
        "further GPU jobs would start, keep their cores and wait for a device; give "
        f"--resources gpu={len(pool)}."
    )


def _no_gpu(pool: Pool) -> str:
    return (
        f"runtime.device is cuda, but there is no GPU ({pool.source}); set runtime.device to auto "
        f"or cpu, or mend the driver, or name the GPUs in {VISIBLE}"
    )


def _wait_for(
    locks: Locks, pool: Pool, count: int, lease: dict[str, Any], wait_s: float
) -> list[Device]:
    """Take ``count`` devices at once, as soon as they are free.

    Jobs queue: whoever holds the queue's lock gets the next devices, so that a job which needs
    two is not overtaken for ever by jobs which need one. None holds a device while it queues.
    """
    keys = ",".join(sorted(device.key for device in pool.devices))
    queue = "queue-" + hashlib.sha256(keys.encode()).hexdigest()[:16]
    began = time.monotonic()
    remind = began + _QUIET_S
    while True:
        if not locks.holds(queue) and locks.take(queue):
            locks.write(queue, lease)
        if locks.holds(queue) and (devices := _take_devices(locks, pool, count, lease)):
            locks.free(queue)
            return devices
        now = time.monotonic()
        late = now - began >= wait_s
        if late or now >= remind:
            holders = [_holder(locks, device) for device in pool.devices]
            if not locks.holds(queue):
                holders.append(f"next in turn: {_words(locks.read(queue))}")
            waits = f"for {count} of {len(pool)} GPUs ({pool.source}). {'; '.join(holders)}"
            if late:
                raise SpinegradeError(
                    f"{lease['rule']} waited {wait_s / 60:.3g} min {waits}. End what hangs, and "
                    "let no more GPU jobs run at a time than there are GPUs "
                    f"(--resources gpu={len(pool)})",
                    code="GPU_WAITED",
                )
            _LOGGER.info("waiting %s", waits)
            remind = now + _REMIND_S
        time.sleep(random.uniform(*_RETRY_S))


def _take_devices(
    locks: Locks, pool: Pool, count: int, lease: dict[str, Any]
) -> list[Device] | None:
    """The first ``count`` free devices, or none at all."""
    taken: list[Device] = []
    for device in pool.devices:
        if len(taken) < count and locks.take(device.key):
            if left_behind(locks.read(device.key)):
                locks.free(device.key)
            else:
                taken.append(device)
    if len(taken) < count:
        for device in taken:
            locks.free(device.key)
        return None
    for device in taken:
        locks.write(device.key, lease)
    return taken


def _holder(locks: Locks, device: Device) -> str:
    """Who has a device, in words."""
    record = locks.read(device.key)
    words = f"GPU {device.name}:"
    if locks.take(device.key):
        locks.free(device.key)
        if left := left_behind(record):
            return f"{words} process {left[0]}, which was started by {_words(record)}"
        return f"{words} free"
    if record and is_alive(record) is False:
        return f"{words} a process forked by {_words(record)}, which has ended itself"
    return f"{words} {_words(record)}"


def _words(record: dict[str, Any]) -> str:
    """A lease's record in words."""
    if not record:
        return "another job"
    return f"process {record['pid']} ({record['rule']} on {record['host']} since {record['since']})"


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
