"""What tests of GPU leases share: a machine's devices by name, and whether one is free."""

from __future__ import annotations

from pathlib import Path

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.gpu_lease import lease_devices

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TWO = """\
GPU 0: NVIDIA A (UUID: GPU-aaaa1111)
GPU 1: NVIDIA A (UUID: GPU-bbbb2222)
"""


def free_at_once(count: int = 1) -> bool:
    try:
        with lease_devices(count, "another", wait_s=0.3):
            return True
    except SpinegradeError:
        return False
