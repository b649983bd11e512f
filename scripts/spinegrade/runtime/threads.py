"""As many threads as a job was given, in every library that would start more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

# Snakemake sets most of these to the rule's threads before a job starts; what a job starts itself
# must find its math threads in them. Libraries that are imported later read them too.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "ARROW_IO_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def limit_threads(threads: int) -> None:
    """Keep this process and those it starts to ``threads`` computing threads each.

    OpenCV, SimpleITK, Arrow's readers and torch's second pool take the machine's cores (or a fixed
    number) whatever OpenMP is told. Those that are imported already are told themselves.
    """
    for variable in _VARIABLES:
        os.environ[variable] = str(threads)
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(threads)
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.set_cpu_count(threads)
        arrow.set_io_thread_count(threads)
    if (itk := sys.modules.get("SimpleITK")) is not None:
        itk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
        # Only before its first use; nothing here uses it.
        with suppress(RuntimeError):
            torch.set_num_interop_threads(1)
