from spinegrade.cohort.delivered import Delivered, text_digest

DELIVERED = Delivered(
    str(config["cohort"]["root"]),
    config["runtime"]["shards"],
    config["cohort"]["folds"],
    config["cohort"]["fold_salt"],
    config["cohort"]["folds_file"],
)
# What the main process has read of the cohort, for the Snakemake of each job on a cluster.
DELIVERED_KEPT = Path(".snakemake/spinegrade_delivered.json")
if not workflow.is_main_process:
    DELIVERED.load(DELIVERED_KEPT)


def delivered_digest(kind_of_digest, *arguments):
    """A digest over delivered studies; over the settings of a phantom, not made when it is asked."""
    if config["cohort"]["kind"] == "phantom":
        settings = text_digest(config["phantom"], config["runtime"]["seed"])
        return f"{settings}-{code_fingerprint('make_phantom')}"
    return getattr(DELIVERED, kind_of_digest)(*arguments)


def shard_digest(*kinds):
    """Param function: over those kinds of rows and files of a shard's studies."""
    return lambda w: delivered_digest("shard_digest", int(w.shard), *kinds)


def training_digest(*kinds):
    """Param function: over the train studies outside the job's fold."""
    return lambda w: delivered_digest("training_digest", int(w.fold), *kinds)


def all_training_digest(*kinds):
    """Param function: over all train studies."""
    return lambda w: delivered_digest("training_digest", None, *kinds)


def cohort_digest(*kinds):
    """Param function: over all studies."""
    return lambda w: delivered_digest("digest", *kinds)
