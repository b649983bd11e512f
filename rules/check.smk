rule check_cohort:
    input:
        images_of_cohort,
        clock=clock_of("check_cohort"),
        studies=out("cohort", "studies.parquet"),
        series=out("cohort", "series.parquet"),
        rejected=out("cohort", "rejected.parquet"),
        landmarks=out("cohort", "landmarks.parquet"),
    output:
        verdicts=out("check", "verdicts.parquet"),
        rejected=out("check", "rejected.parquet"),
        annotations=out("check", "annotations.parquet"),
        page=out("check", "check_cohort.html"),
    log:
        log_of("check_cohort"),
    benchmark:
        benchmark_of("check_cohort")
    conda:
        "../envs/report.yaml"
    threads: workflow.cores
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        fingerprint=fingerprint_of("check_cohort"),
        code=code_fingerprint(
            "check_cohort",
            resources=(
                "resources/report/page.html.j2",
                "resources/report/blocks.html.j2",
                "resources/report/page.css",
            ),
        ),
        digest=cohort_digest("files", "series", "landmarks"),
        math_threads=1,
        cohort=COHORT,
        root=lambda w: cohort_root(),
        settings=config["convert"],
        leave_out=config["annotations"]["leave_out"],
    message:
        "Checking the headers of every series and the annotated points before anything is converted"
    script:
        "../scripts/check_cohort.py"
