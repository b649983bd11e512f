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
include: "rules/keypoints.smk"
include: "rules/regressors.smk"
include: "rules/rois.smk"
include: "rules/classifiers.smk"
include: "rules/one_stage.smk"
include: "rules/two_stage.smk"
include: "rules/ensemble.smk"
include: "rules/systems.smk"
include: "rules/report.smk"
include: "rules/dag.smk"


rule all:
    default_target: True
    input:
        [] if LABELS_ALONE else out("report", "report.html"),
        out("ensemble", "score.json"),
        out("ensemble", "submission.csv"),
