from spinegrade.learner_settings import that_decides

# Rules without a job in this report's run: what they are made with is not told.
PREDICTING = {rule for rule, names in PREDICTED_BY.items() if {*names} & {*MEMBERS}}
IDLE = {
    *("check_cohort", "draw_dag", "fit_system_blend", "compare", "write_system_report"),
    *({"predict_grader", "predict_points_and_grades"} - PREDICTING),
    *(() if "predict_points_and_grades" in PREDICTING else ("prepare_canvases",)),
    *(() if USED["sequences"] else ("crop_sequences",)),
    *(() if {*PROJECTIONS} & {*USED["finders"]} else ("fit_projection", "project_keypoints")),
    "measure_grader",
}


rule write_report:
    input:
        clock=clock_of("write_report"),
        studies=out("cohort", "studies.parquet"),
        labels=out("cohort", "labels.parquet"),
        rejected=[
            out("cohort", "rejected.parquet"),
            *shards_of(out("convert", "{shard}", "rejected.parquet")),
            *shards_of(out("convert", "{shard}", "landmarks_rejected.parquet")),
            *expand(
                out("localise", "{name}", "{shard}.rejected.parquet"),
                name=USED["finders"],
                shard=SHARDS,
            ),
        ],
        stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
        landmarks=shards_of(out("convert", "{shard}", "landmarks.parquet")),
        keypoints=expand(
            out("localise", "{name}", "{shard}.parquet"), name=USED["finders"], shard=SHARDS
        ),
        crop_tables=crop_files(USED["sets"], "rois.parquet"),
        crop_arrays=crop_files(USED["sets"], "rois.npy"),
        # A run with models.from trains nothing: it has no histories and fits no shape of its own.
        histories=[] if APPLY else histories_of(TRAINED_HERE),
        probabilities=out("combine", "probabilities.parquet"),
        prior=out("combine", "prior.parquet"),
        score=out("combine", "score.json"),
        filled=out("combine", "filled.csv"),
        mean_shape=[] if APPLY else out("shapes", "mean_shape.png"),
        truth=TRUTH,
    output:
        out("report", "report.html"),
    log:
        log_of("write_report"),
    benchmark:
        benchmark_of("write_report")
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        fingerprint=fingerprint_of("write_report"),
        code=code_fingerprint("write_report", resources=REPORT_RESOURCES),
        cohort=COHORT,
        kind=config["cohort"]["kind"],
        options=config["report"],
        seed=config["runtime"]["seed"],
        # The configuration is printed in the report: a key that changes, changes it.
        config=that_decides(config),
        benchmarks=f"{RESULTS}/benchmarks",
        fingerprints=lambda w: {
            rule.name: code_fingerprint(Path(rule.script).stem)
            for rule in workflow.rules
            if rule.script and rule.name not in IDLE
        },
    message:
        "Writing the report"
    script:
        "../scripts/write_report.py"
