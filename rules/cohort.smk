include: "inputs/cohort.smk"
include: "inputs/delivered.smk"


rule index_cohort:
    input:
        cohort_tables(),
        clock=clock_of("index_cohort"),
    output:
        studies=out("cohort", "studies.parquet"),
        series=out("cohort", "series.parquet"),
        labels=out("cohort", "labels.parquet"),
        landmarks=out("cohort", "landmarks.parquet"),
        rejected=out("cohort", "rejected.parquet"),
    log:
        log_of("index_cohort"),
    benchmark:
        benchmark_of("index_cohort")
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        fingerprint=fingerprint_of("index_cohort"),
        code=code_fingerprint("index_cohort"),
        root=lambda w: cohort_root(),
        shards=config["runtime"]["shards"],
        labels_alone=LABELS_ALONE,
        trains=not APPLY,
        listing=cohort_listing,
    message:
        "Reading the tables and folders of the cohort"
    script:
        "../scripts/index_cohort.py"


rule split_folds:
    input:
        clock=clock_of("split_folds"),
        studies=out("cohort", "studies.parquet"),
        labels=out("cohort", "labels.parquet"),
        folds_file=config["cohort"]["folds_file"] or [],
    output:
        folds=out("cohort", "folds.parquet"),
    log:
        log_of("split_folds"),
    benchmark:
        benchmark_of("split_folds")
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        fingerprint=fingerprint_of("split_folds"),
        code=code_fingerprint("split_folds"),
        folds=config["cohort"]["folds"],
        salt=config["cohort"]["fold_salt"],
    message:
        "Splitting the train studies into {params.folds} folds"
    script:
        "../scripts/split_folds.py"
