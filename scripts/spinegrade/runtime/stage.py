"""What every stage script does around its one call: log, threads, GPU, one clear error."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from spinegrade.errors import SpinegradeError
from spinegrade.runtime.files import write_refusal
from spinegrade.runtime.gpu_lease import lease_devices
from spinegrade.runtime.made_note import leave_note
from spinegrade.runtime.status import StatusFile
from spinegrade.runtime.threads import limit_threads


def run_stage(job: Any, main: Callable[[Any], None]) -> None:
    """Run ``main(job)`` for a Snakemake job, logging to the rule's log and to the terminal.

    A SpinegradeError, or a disk that cannot be written to, ends the job with its one message;
    anything else with a traceback in the log. What the outputs were made with is kept beside the
    results (``made_note``), once they stand; how far it is, in its status file. Libraries get
    ``params.math_threads``, else the job's threads. While a job runs it alone has as many GPUs as
    its ``gpu`` resource says.
    """
    threads = int(getattr(job.params, "math_threads", None) or job.threads)
    limit_threads(threads)
    log_file = Path(str(job.log[0]))
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        status = StatusFile(log_file, job.rule, dict(job.wildcards.items()))
        log = logging.FileHandler(log_file, mode="w")
    except OSError as error:
        sys.exit(f"{job.rule}: {write_refusal(error, log_file) or error}")
    # A log on a full disk must not bury under tracebacks of its own why the job ended.
    logging.raiseExceptions = False
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[log, logging.StreamHandler(sys.stderr), status],
        force=True,
    )
    logger = logging.getLogger("spinegrade")
    began = time.monotonic()
    if threads > job.threads:
        logger.warning(
            "%d threads compute on %d cores: give more --cores, or lower runtime.math_threads",
            *(threads, job.threads),
        )
    gpus, device = getattr(job.resources, "gpu", 0), getattr(job.params, "device", "auto")
    try:
        with lease_devices(gpus, job.rule, device):
            main(job)
        if getattr(job.params, "fingerprint", None):
            leave_note(job)
    except Exception as error:
        told = error if isinstance(error, SpinegradeError) else write_refusal(error, log_file)
        if told is not None:
            logger.error("%s: %s", job.rule, told)
        else:
            logger.error("%s failed\n%s", job.rule, traceback.format_exc())
        with suppress(OSError):
            status.finish(str(told) if told else f"{type(error).__name__}: {error}")
        sys.exit(1)
    with suppress(OSError):
        status.finish()
    logger.info("%s done in %.1f s", job.rule, time.monotonic() - began)
