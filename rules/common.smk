import sys
from pathlib import Path

PROJECT = Path(workflow.basedir)
sys.path.insert(0, str(PROJECT / "scripts"))

from spinegrade.regions.of_cohort import REGION_OF_COHORT
from spinegrade.regions.registry import modules_of
from spinegrade.runtime.fingerprint import code_fingerprint, remember_in
from spinegrade.runtime.plain_words import speak_plainly
from spinegrade.settings import check_settings

speak_plainly()
check_settings(config)
remember_in(".snakemake/spinegrade_code.json")

COHORT = config["cohort"]["name"]
RESULTS = f"results/{COHORT}"
SHARDS = list(range(config["runtime"]["shards"]))
FOLDS = list(range(config["cohort"]["folds"]))
# Where trained models come from: this cohort's own run, or a finished one (models.from).
APPLY = config["models"]["from"] is not None
TRAINED = config["models"]["from"].rstrip("/") if APPLY else RESULTS

PHANTOM = config["cohort"]["kind"] == "phantom"
# No images: tables of others are combined and scored on the labels, nothing else.
LABELS_ALONE = config["cohort"]["kind"] == "kaggle_labels"
# The region that the studies show; stages that depend on it have its modules in their fingerprint.
REGION = REGION_OF_COHORT[config["cohort"]["kind"]]
REGION_MODULES = modules_of(REGION)


include: "inputs/freshness.smk"
include: "inputs/run.smk"
include: "inputs/container.smk"


def out(room, *parts):
    """Path of an output under results/{cohort}/<room>/."""
    return "/".join((RESULTS, room, *parts))


def trained(room, *parts):
    """Path of something learnt: under this cohort's results, or under models.from."""
    return "/".join((TRAINED, room, *parts))


def log_of(stage):
    """The log of a stage: results/{cohort}/logs/<stage>.log (wildcards may be in the name)."""
    return f"{RESULTS}/logs/{stage}.log"


def benchmark_of(stage):
    """The benchmark table of a stage: results/{cohort}/benchmarks/<stage>.tsv."""
    return f"{RESULTS}/benchmarks/{stage}.tsv"


def shards_of(path):
    """One path a shard, for a path that holds {shard}."""
    return expand(path, shard=SHARDS)


# What only a phantom has: the truth behind its labels, and the floor of its score.
TRUTH = out("phantom", "truth.parquet") if PHANTOM else []
FLOOR = out("phantom", "floor.json") if PHANTOM else []

# What every HTML page is made with beside code.
REPORT_RESOURCES = (
    "resources/captions/report.yaml",
    "resources/report/page.html.j2",
    "resources/report/blocks.html.j2",
    "resources/report/page.css",
)
