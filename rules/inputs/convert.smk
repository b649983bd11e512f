from functools import cache

from spinegrade.cohort.layout import (
    LANDMARKS,
    TEST_IMAGES,
    TEST_SERIES,
    TRAIN_IMAGES,
    TRAIN_SERIES,
)
from spinegrade.convert.digest import shard_digests, text_digest


@cache
def kaggle_digests():
    """One digest a shard over a user's image files and series rows, walked once a run."""
    folders = [f"{cohort_root()}/{part}" for part in (TRAIN_IMAGES, TEST_IMAGES)]
    tables = [path for path in map(cohort_csv, (TRAIN_SERIES, TEST_SERIES)) if path]
    return shard_digests(folders, tables, len(SHARDS))


def convert_digest(wildcards):
    """What a shard's conversion depends on: a phantom's files do not exist when this is asked."""
    if config["cohort"]["kind"] == "phantom":
        settings = text_digest(config["phantom"], config["runtime"]["seed"])
        return f"{settings}-{code_fingerprint('make_phantom')}"
    return kaggle_digests()[int(wildcards.shard)]


@cache
def kaggle_landmark_digests():
    """One digest a shard over the rows of a user's annotated points."""
    tables = [path for path in (cohort_csv(LANDMARKS),) if path]
    return shard_digests([], tables, len(SHARDS))


def landmarks_digest(wildcards):
    """Changes when annotated points of the shard change, or what it converts."""
    if config["cohort"]["kind"] == "phantom":
        return convert_digest(wildcards)
    return kaggle_landmark_digests()[int(wildcards.shard)]


def cohort_table(name, stage, digest):
    """Input function for a cohort table, ancient unless the shard's digest has changed.

    A rewritten cohort table must not rerun every shard: its rows of this shard are in the
    digest. But Snakemake never looks at the params of a job behind an ancient input that is
    being remade, so that a shard whose digest differs from the one that it was last run with
    (kept by its script) takes the table as an ordinary input.
    """

    def table(wildcards):
        last = Path(digest_file(stage, wildcards.shard))
        current = last.is_file() and last.read_text() == digest(wildcards)
        path = out("cohort", name)
        return ancient(path) if current else path

    return table


def digest_file(stage, shard):
    """Where the script of a stage keeps the digest of its shard when it is done."""
    return out("convert", "cache", f"{stage}_{shard}.digest")
