rule convert_dicom:
    input:
        images_of_cohort,
        clock=clock_of("convert_dicom"),
        series=settled("convert_dicom", out("cohort", "series.parquet")),
    output:
        stacks=out("convert", "{shard}", "stacks.parquet"),
        slices=out("convert", "{shard}", "slices.parquet"),
        copies=out("convert", "{shard}", "copies.parquet"),
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
        fingerprint=fingerprint_of("convert_dicom"),
        code=code_fingerprint("convert_dicom"),
        upstream=lambda w: made_with("index_cohort"),
        digest=shard_digest("files", "series"),
        math_threads=1,
        root=lambda w: cohort_root(),
        settings=config["convert"],
    message:
        "Converting the DICOM series of shard {wildcards.shard}"
    script:
        "../scripts/convert_dicom.py"


rule locate_landmarks:
    input:
        clock=clock_of("locate_landmarks"),
        studies=settled("locate_landmarks", out("cohort", "studies.parquet")),
        landmarks=settled("locate_landmarks", out("cohort", "landmarks.parquet")),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        slices=out("convert", "{shard}", "slices.parquet"),
        copies=out("convert", "{shard}", "copies.parquet"),
        refused=out("convert", "{shard}", "rejected.parquet"),
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
        fingerprint=fingerprint_of("locate_landmarks"),
        code=code_fingerprint("locate_landmarks"),
        upstream=lambda w: made_with("index_cohort"),
        digest=shard_digest("landmarks"),
        leave_out=config["annotations"]["leave_out"],
        math_threads=1,
    message:
        "Locating the annotated points of shard {wildcards.shard}"
    script:
        "../scripts/locate_landmarks.py"
