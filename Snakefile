# spinegrade: spine imaging studies to graded findings. This file is the contents page.
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


configfile: Path(workflow.basedir) / "workflow_config.yaml"


include: "rules/common.smk"


if PHANTOM:

    include: "rules/phantom.smk"


include: "rules/cohort.smk"
include: "rules/convert.smk"
include: "rules/check.smk"
include: "rules/shapes.smk"
include: "rules/train.smk"
include: "rules/localise.smk"
include: "rules/crop.smk"
include: "rules/grade.smk"
include: "rules/combine.smk"
include: "rules/report.smk"
include: "rules/dag.smk"
include: "rules/systems.smk"


rule all:
    default_target: True
    input:
        [] if LABELS_ALONE else out("report", "report.html"),
        out("combine", "score.json"),
        out("combine", "submission.csv"),
