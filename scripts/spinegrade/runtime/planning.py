"""What is said and what is refused once Snakemake knows the jobs of a run, before the first.

Snakemake's own reasons for a job name the clock (``freshness``), which tells nobody anything. They
are replaced by what changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snakemake.exceptions import ApiError, MissingRuleException
from snakemake.logging import logger

from spinegrade.runtime.asked_targets import words_on_missing, words_on_wildcards
from spinegrade.runtime.gpu_lease import no_gpu_for
from spinegrade.runtime.reasons import FOLLOWS, NOT_MADE, Reasons, table_of_reasons


def watch_plan(workflow: Any, results: str, device: str, reasons: Reasons) -> None:
    """Have ``workflow`` (Snakemake's) tell why its jobs run, and refuse what cannot be made.

    Refused in a sentence: a target that no rule makes, and ``device`` (runtime.device) cuda for
    jobs on this machine when it has no GPU; of a dry run that is a warning.
    """
    build = workflow._build_dag

    def built() -> None:
        if not workflow.is_main_process:
            build()
            return
        for rule in workflow.dag.targetrules:
            if rule.has_wildcards():
                raise ApiError(words_on_wildcards(rule))
        try:
            build()
        except MissingRuleException as error:
            target = str(error).removeprefix("No rule to produce ").split(" (if you use")[0]
            project = Path(workflow.basedir)
            words = words_on_missing(target, workflow.rules, project, results)
            raise ApiError(words) from None
        jobs = [job for job in workflow.dag.needrun_jobs() if job.rule.output]
        refusal = _device_refusal(workflow, jobs, device)
        if refusal and not workflow.dryrun:
            raise ApiError(refusal)
        if refusal:
            logger.warning(refusal)
        _tell(workflow, jobs, reasons)

    workflow._build_dag = built


def _device_refusal(workflow: Any, jobs: list[Any], device: str) -> str | None:
    """On jobs that need a GPU here; the nodes of a cluster may have what this machine lacks."""
    if workflow.non_local_exec or not any("gpu" in job.rule.resources for job in jobs):
        return None
    return no_gpu_for(device)


def _tell(workflow: Any, jobs: list[Any], reasons: Reasons) -> None:
    dag, rules = workflow.dag, [rule.name for rule in workflow.rules]
    # Snakemake keeps its jobs in no order.
    jobs = sorted(jobs, key=lambda job: (rules.index(job.rule.name), *job.wildcards))
    found = [(job, reasons.of(job, dag.reason(job))) for job in jobs]
    table = table_of_reasons(found, rules)
    if table is not None:
        logger.info(table)
    for job, words in found:
        reason, text = dag.reason(job), "; ".join(words)
        if text not in (NOT_MADE, FOLLOWS) and reasons.clock in reason.updated_input:
            reason.updated_input.discard(reasons.clock)
            reason.params_changed = text
