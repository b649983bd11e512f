include: "inputs/convert.smk"


rule convert_dicom:
    input:
        out("phantom", "phantom.json") if config["cohort"]["kind"] == "phantom" else [],
        series=cohort_table("series.parquet", "convert_dicom", convert_digest),
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
        digest_file=lambda wildcards: digest_file("convert_dicom", wildcards.shard),
        math_threads=1,
        root=lambda w: cohort_root(),
        settings=config["convert"],
    message:
        "Converting the DICOM series of shard {wildcards.shard}"
    script:
        "../scripts/convert_dicom.py"


rule locate_landmarks:
    input:
        studies=cohort_table("studies.parquet", "locate_landmarks", landmarks_digest),
        landmarks=cohort_table("landmarks.parquet", "locate_landmarks", landmarks_digest),
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
        digest_file=lambda wildcards: digest_file("locate_landmarks", wildcards.shard),
        math_threads=1,
    message:
        "Locating the annotated points of shard {wildcards.shard}"
    script:
        "../scripts/locate_landmarks.py"
