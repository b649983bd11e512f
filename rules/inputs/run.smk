from functools import cache

from spinegrade.runtime.data_states import data_words, keep_state, read_state
from spinegrade.runtime.gpu_lease import check_gpu_limit, gpus_of_a_job
from spinegrade.runtime.interpreter import quote_interpreter
from spinegrade.runtime.planning import watch_plan
from spinegrade.runtime.reasons import Reasons
from spinegrade.runtime.run_record import run_in_progress
from spinegrade.runtime.run_session import watch_run
from spinegrade.runtime.slurm_states import mend_slurm_executor

watch_run(workflow, config, RESULTS, TRAINED)
mend_slurm_executor()
quote_interpreter()


def changed_data(digest, since):
    """What of the delivered data behind a job's digest changed since that run, in phrases."""
    if PHANTOM:
        return ["the phantom cohort that it reads"]
    if not isinstance(digest, str):
        return ["the tables that it reads"]
    return data_words(DELIVERED.changed_since(digest, read_state(RESULTS, since)))


watch_plan(
    workflow,
    RESULTS,
    config["runtime"]["device"],
    Reasons(FRESHNESS, config, RESULTS, changed_data),
)


@cache
def gpus_here():
    """GPUs of a job on this machine: 1, or 0 where it computes on the CPU."""
    return gpus_of_a_job(config["runtime"]["device"])


def gpus(wildcards):
    """Resource function: the GPUs that a training or an inference asks for."""
    if workflow.non_local_exec:
        # The nodes of a cluster have devices that this machine may lack.
        return int(config["runtime"]["device"] != "cpu")
    return gpus_here()


onstart:
    DELIVERED.save(DELIVERED_KEPT)
    keep_state(RESULTS, run_in_progress(RESULTS), DELIVERED.known)
    if not workflow.non_local_exec:
        limit = workflow.global_resources.get("gpu")
        advice = check_gpu_limit(limit and limit.value, config["runtime"]["device"])
        if advice:
            print(advice, file=sys.stderr)
