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


rule convert_dicom:
    input:
        ancient(out("cohort", "studies.parquet")),
        out("phantom", "phantom.json") if config["cohort"]["kind"] == "phantom" else [],
        series=ancient(out("cohort", "series.parquet")),
    output:
        stacks=out("convert", "{shard}", "stacks.parquet"),
        slices=out("convert", "{shard}", "slices.parquet"),
        rejected=out("convert", "{shard}", "rejected.parquet"),
    log:
        log_of("convert_dicom/{shard}"),
    benchmark:
        benchmark_of("convert_dicom/{shard}")
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=120,
    params:
        code=code_fingerprint("convert_dicom"),
        digest=convert_digest,
        math_threads=1,
        root=cohort_root(),
        settings=config["convert"],
    message:
        "Converting the DICOM series of shard {wildcards.shard}"
    script:
        "../scripts/convert_dicom.py"


rule locate_landmarks:
    input:
        studies=ancient(out("cohort", "studies.parquet")),
        landmarks=ancient(out("cohort", "landmarks.parquet")),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        slices=out("convert", "{shard}", "slices.parquet"),
    output:
        located=out("convert", "{shard}", "landmarks.parquet"),
        rejected=out("convert", "{shard}", "landmarks_rejected.parquet"),
    log:
        log_of("locate_landmarks/{shard}"),
    benchmark:
        benchmark_of("locate_landmarks/{shard}")
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code_fingerprint("locate_landmarks"),
        digest=landmarks_digest,
        math_threads=1,
    message:
        "Locating the annotated points of shard {wildcards.shard}"
    script:
        "../scripts/locate_landmarks.py"
