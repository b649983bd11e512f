include: "inputs/combine.smk"
include: "inputs/systems.smk"


if APPLY:

    rule apply_ensemble:
        input:
            clock=clock_of("apply_ensemble"),
            labels=out("cohort", "labels.parquet"),
            studies=out("cohort", "studies.parquet"),
            weights=trained("combine", "weights.json"),
            oof=predicted("oof", MEMBERS),
            new=predicted("new", MEMBERS),
            outside=settled("apply_ensemble", [table["path"] for table in OUTSIDE.values()]),
            floor=FLOOR,
        output:
            weights=out("combine", "weights.json"),
            probabilities=out("combine", "probabilities.parquet"),
            prior=out("combine", "prior.parquet"),
            filled=out("combine", "filled.csv"),
            score=out("combine", "score.json"),
        log:
            log_of("apply_ensemble"),
        benchmark:
            benchmark_of("apply_ensemble")
        conda:
            "../envs/base.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            fingerprint=fingerprint_of("apply_ensemble"),
            code=code_fingerprint("apply_ensemble", *REGION_MODULES),
            region=REGION,
            members=MEMBERS,
            outside={name: table["normalise"] for name, table in OUTSIDE.items()},
            digest=lambda w: outside_digests(),
            settings=COMBINE_SETTINGS,
            math_threads=1,
        message:
            "Combining the graders with the weights of a finished run"
        script:
            "../scripts/apply_ensemble.py"

else:

    rule fit_ensemble:
        input:
            clock=clock_of("fit_ensemble"),
            labels=out("cohort", "labels.parquet"),
            folds=out("cohort", "folds.parquet"),
            studies=out("cohort", "studies.parquet"),
            oof=predicted("oof", MEMBERS),
            new=predicted("new", MEMBERS),
            outside=settled("fit_ensemble", [table["path"] for table in OUTSIDE.values()]),
            floor=FLOOR,
        output:
            weights=out("combine", "weights.json"),
            probabilities=out("combine", "probabilities.parquet"),
            prior=out("combine", "prior.parquet"),
            filled=out("combine", "filled.csv"),
            score=out("combine", "score.json"),
        log:
            log_of("fit_ensemble"),
        benchmark:
            benchmark_of("fit_ensemble")
        conda:
            "../envs/base.yaml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            fingerprint=fingerprint_of("fit_ensemble"),
            code=code_fingerprint("fit_ensemble", *REGION_MODULES),
            region=REGION,
            members=MEMBERS,
            outside={name: table["normalise"] for name, table in OUTSIDE.items()},
            digest=lambda w: outside_digests(),
            settings=COMBINE_SETTINGS,
            math_threads=1,
        message:
            "Weighing the graders on their out-of-fold probabilities"
        script:
            "../scripts/fit_ensemble.py"


rule write_submission:
    input:
        clock=clock_of("write_submission"),
        probabilities=out("combine", "probabilities.parquet"),
        studies=out("cohort", "studies.parquet"),
        sample=SAMPLE_SUBMISSION,
    output:
        submission=out("combine", "submission.csv"),
    log:
        log_of("write_submission"),
    benchmark:
        benchmark_of("write_submission")
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        fingerprint=fingerprint_of("write_submission"),
        code=code_fingerprint("write_submission", REGION_MODULES[0]),
        region=REGION,
    message:
        "Writing submission.csv"
    script:
        "../scripts/write_submission.py"
