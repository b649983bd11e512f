"""What every stage script does around its one call: log, threads, one clear error."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_stage(job: Any, main: Callable[[Any], None]) -> None:
    """Run ``main(job)`` for a Snakemake job, logging to the rule's log and to the terminal.

    A SpinegradeError ends the job with its one message; anything else with a traceback in
    the log. Math libraries get ``params.math_threads``, else the job's threads.
    """
    threads = str(getattr(job.params, "math_threads", None) or job.threads)
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = threads
    log_file = Path(str(job.log[0]))
    log_file.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[logging.FileHandler(log_file, mode="w"), logging.StreamHandler(sys.stderr)],
        force=True,
    )
    logger = logging.getLogger("spinegrade")
    began = time.monotonic()
    try:
        main(job)
    except SpinegradeError as error:
        logger.error("%s: %s", job.rule, error)
        sys.exit(1)
    except Exception:
        logger.error("%s failed\n%s", job.rule, traceback.format_exc())
        sys.exit(1)
    logger.info("%s done in %.1f s", job.rule, time.monotonic() - began)
