"""Torch made ready for a job: torchvision beside a CPU-only torch, threads, seeds, device.

Import ``torch`` and ``timm`` in the project through this module's ``import_timm`` and
``prepare``, so that the two always agree.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from spinegrade.errors import SpinegradeError

if TYPE_CHECKING:
    import torch

_LOGGER = logging.getLogger("spinegrade")
_LIBRARY_REFERENCE: list[object] = []


def declare_torchvision_operators() -> None:
    """Let torchvision import where its compiled library cannot load.

    The torchvision wheel that matches the pinned torch is built for CUDA. Beside a CPU-only
    torch its operators are absent and ``import torchvision`` (hence timm) fails while it
    registers two shape functions. Declaring those two operators is enough; the compiled
    ones stay missing and say so when called. Where the library loads, nothing is declared.
    """
    import torch

    if _LIBRARY_REFERENCE or hasattr(torch.ops.torchvision, "nms"):
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed; install requirements.txt")
    folder = Path(spec.origin).parent
    for name in ("_C.so", "_C.pyd"):
        compiled = folder / name
        if compiled.exists():
            try:
                torch.ops.load_library(str(compiled))
                return
            except OSError:
                break
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARY_REFERENCE.append(library)


def import_timm() -> ModuleType:
    """Import timm with torchvision made importable first."""
    declare_torchvision_operators()
    return importlib.import_module("timm")


def _keep_freed_memory() -> None:
    """Let the C library reuse freed tensors instead of giving their pages back at once.

    Each step of a training allocates the same tensors again; faulting fresh pages in took about
    a sixth of a small network's step on the CPU. Only the GNU C library has these switches.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 1 << 30)


def _usable_device(device: str) -> str:
    """``cpu`` or ``cuda`` for ``device``, as ``prepare`` documents it."""
    import torch

    if device == "cpu" or torch.cuda.is_available():
        return "cpu" if device == "cpu" else "cuda"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
    cause = (
        f"torch {torch.__version__}, built for {built}, can use no GPU "
        f"(CUDA_VISIBLE_DEVICES is {'not set' if visible is None else repr(visible)})"
    )
    if device == "cuda":
        raise SpinegradeError(
            f"runtime.device is cuda, but {cause}; install the CUDA build of torch and a driver "
            "for it, or set runtime.device to auto or cpu",
            code="GPU_NONE",
            key="runtime.device",
        )
    if visible:
        _LOGGER.warning("a GPU is given to this job, but %s", cause)
    return "cpu"


def prepare(seed: int, threads: int, device: str = "auto") -> torch.device:
    """Seed torch, fix its math threads, ask for deterministic kernels; return the device.

    ``device`` is ``auto`` (CUDA where there is one), ``cpu`` or ``cuda``. Raises SpinegradeError
    where it is ``cuda`` and torch can use none.
    """
    import torch

    _keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = _usable_device(device)
    if device == "cpu":
        _LOGGER.info("computing on the CPU (threads: %d)", threads)
    else:
        _LOGGER.info("computing on %s", torch.cuda.get_device_name())
    # CPU kernels are deterministic at a fixed number of threads as it is, and asking imports a
    # compiler: a second of each short process.
    if device != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device(device)
