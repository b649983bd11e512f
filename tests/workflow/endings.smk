# Jobs that end in every way on a cluster (test_slurm_endings.py). Each marks that it was tried, and
# is quick the second time.
import sys
from pathlib import Path

from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

sys.path.insert(0, str(Path(workflow.basedir).parents[1] / "scripts"))

from spinegrade.runtime.slurm_states import mend_slurm_executor

mend_slurm_executor()
# The test cannot wait as patiently as the executor does.
RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, s: None)


rule all:
    input:
        "lost.txt",
        "held.txt",
        "outlives.txt",
        "after.txt",


rule lost:
    output:
        "lost.txt",
    resources:
        mem_mb=100,
        runtime=5,
        slurm_extra="--no-requeue",
    shell:
        "echo >> lost.tried; [ $(wc -l < lost.tried) -gt 1 ] || sleep 300; touch {output}"


rule held:
    output:
        "held.txt",
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "echo >> held.tried; [ $(wc -l < held.tried) -gt 1 ] || sleep 300; touch {output}"


rule outlives:
    output:
        "outlives.txt",
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "trap 'touch {output}; echo > outlives.finished; exit 0' TERM; echo >> outlives.tried; "
        "[ $(wc -l < outlives.tried) -gt 1 ] || {{ sleep 300 & wait; }}; touch {output}"


rule fails:
    output:
        "fails.txt",
    group:
        "together"
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "echo >> fails.tried; [ $(wc -l < fails.tried) -gt 1 ] || exit 3; touch {output}"


rule after:
    input:
        "fails.txt",
    output:
        "after.txt",
    group:
        "together"
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "touch {output}"
