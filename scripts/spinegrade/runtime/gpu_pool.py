"""Which GPUs a job may take: by CUDA_VISIBLE_DEVICES, by SLURM's allotment, else by nvidia-smi."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

VISIBLE = "CUDA_VISIBLE_DEVICES"
_SLURM_LISTS = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
_SMI_TIMEOUT_S = 20
_GPU_LINE = re.compile(r"GPU (\d+): (.+) \(UUID: (GPU-[^)]+)\)")
_MIG_LINE = re.compile(r"\s+MIG .+ \(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True)
class Device:
    """A GPU, or a MIG part of one.

    ``name`` is what CUDA_VISIBLE_DEVICES is to hold for it; ``key`` is the same for all the
    names that it goes by on this machine (its UUID where that is known).
    """

    name: str
    key: str


@dataclass(frozen=True)
class Pool:
    """The GPUs that jobs may take, and ``source``, the words that tell where that comes from.

    ``untouched``: SLURM has given the job its devices without naming them; they are visible as
    they are.
    """

    devices: tuple[Device, ...]
    source: str
    untouched: bool = False

    def __len__(self) -> int:
        return len(self.devices)


@dataclass(frozen=True)
class _Listed:
    """A GPU as ``nvidia-smi -L`` lists it, with the UUIDs of its MIG parts."""

    model: str
    uuid: str
    parts: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return self.parts or (self.uuid,)


def find_pool(environment: Mapping[str, str] = os.environ) -> Pool:
    """The GPUs that jobs started with ``environment`` may take.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it: numbers, UUIDs or their beginnings; what
    follows a name that is not on the machine does not count; an empty list, -1 and SLURM's
    NoDevFiles are no GPU. Inside a SLURM job only what SLURM allotted counts.
    """
    visible = environment.get(VISIBLE)
    slurm_job = environment.get("SLURM_JOB_ID")
    if slurm_job and visible is None:
        if any(environment.get(name) for name in _SLURM_LISTS):
            return Pool((), f"SLURM job {slurm_job}", untouched=True)
        return Pool((), f"SLURM job {slurm_job} was allotted none")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        source = f"{VISIBLE}={visible}"
        if slurm_job:
            # Two jobs of SLURM may both call their own device 0: it counts within its job.
            keys = [(name, f"slurm-{slurm_job}-{name}") for name in names]
            return Pool(_known(keys), f"{source}, SLURM job {slurm_job}")
        if not _is_name(names[0]):
            return Pool((), source)
        listed, why = _list_gpus(environment)
        if listed is None:
            return Pool(_known([(name, name) for name in names]), source)
        order = environment.get("CUDA_DEVICE_ORDER", "")
        keys = [(name, _key_of(name, listed, order)) for name in names]
        return Pool(_known(keys), f"{source}; {why}")
    listed, why = _list_gpus(environment)
    found = [key for gpu in listed or () for key in gpu.keys]
    return Pool(tuple(Device(key, key) for key in found), why)


def _is_name(name: str) -> bool:
    return (name.isascii() and name.isdigit()) or name.startswith(("GPU-", "MIG-"))


def _known(keys: list[tuple[str, str | None]]) -> tuple[Device, ...]:
    """Devices up to the first name that is none, each once."""
    devices: dict[str, Device] = {}
    for name, key in keys:
        if key is None or not _is_name(name):
            break
        devices.setdefault(key, Device(name, key))
    return tuple(devices.values())


def _key_of(name: str, listed: list[_Listed], order: str) -> str | None:
    """What ``name`` is locked by; None where no such device is on the machine."""
    if not _is_name(name):
        return None
    if not name.isdigit():
        keys = [key for gpu in listed for key in (gpu.uuid, *gpu.parts) if key.startswith(name)]
        return keys[0] if len(keys) == 1 else None
    number = int(name)
    if number >= len(listed):
        return None
    # CUDA numbers unlike GPUs by speed, nvidia-smi by their slot, unless it is told otherwise.
    alike = len({gpu.model for gpu in listed}) == 1
    return listed[number].keys[0] if alike or order == "PCI_BUS_ID" else f"number-{number}"


def _list_gpus(environment: Mapping[str, str]) -> tuple[list[_Listed] | None, str]:
    """What ``nvidia-smi -L`` lists, and a few words on it; None where it does not say."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if program is None:
        return None, "nvidia-smi is not installed"
    try:
        done = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"nvidia-smi did not answer within {_SMI_TIMEOUT_S} s"
    except OSError as error:
        return None, f"nvidia-smi cannot be run: {error.strerror}"
    if done.returncode:
        words = (done.stdout + done.stderr).strip().splitlines() or ["no message"]
        return None, f"nvidia-smi failed: {words[0]}"
    listed: list[_Listed] = []
    for line in done.stdout.splitlines():
        if gpu := _GPU_LINE.match(line):
            listed.append(_Listed(gpu[2], gpu[3], ()))
        elif (part := _MIG_LINE.match(line)) and listed:
            last = listed[-1]
            listed[-1] = _Listed(last.model, last.uuid, (*last.parts, part[1]))
    return listed, f"nvidia-smi lists {sum(len(gpu.keys) for gpu in listed)}"
