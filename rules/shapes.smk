rule fit_mean_shape:
    input:
        clock=clock_of("fit_mean_shape"),
        landmarks=out("cohort", "landmarks.parquet"),
        stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
    output:
        shape=out("shapes", "mean_shape.json"),
        picture=out("shapes", "mean_shape.png"),
    log:
        log_of("fit_mean_shape"),
    benchmark:
        benchmark_of("fit_mean_shape")
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        fingerprint=fingerprint_of("fit_mean_shape"),
        code=code_fingerprint("fit_mean_shape"),
        math_threads=1,
    message:
        "Fitting the mean shape of the foraminal and the canal points"
    script:
        "../scripts/fit_mean_shape.py"
