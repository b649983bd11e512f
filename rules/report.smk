# Every stage whose work the report may show: one script a rule, of its name.
STAGES = sorted(
    stage
    for stage in {path.stem for path in (PROJECT / "scripts").glob("*.py")}
    if stage not in ("check_cohort", "draw_dag")
    and (NETWORKS or "one_stage" not in stage)
    and (GRADERS or "two_stage" not in stage)
    and (SEQUENCES or stage != "crop_sequences")
    and (REGRESSORS or "regressor" not in stage)
    and (PROJECTIONS or stage not in ("fit_projection", "project_keypoints"))
)
# A run with models.from trains nothing: it has no histories and fits no shape of its own.
HISTORIES = (
    []
    if APPLY
    else [
        *expand(
            out("keypoints", "{name}", "fold_{fold}", "history.csv"), name=DETECTORS, fold=FOLDS
        ),
        *expand(
            out("classifiers", "{name}", "fold_{fold}", "history.csv"),
            name=CLASSIFIERS,
            fold=FOLDS,
        ),
    ]
)


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
                out("keypoints", "{name}", "{shard}.rejected.parquet"),
                name=DETECTORS,
                shard=SHARDS,
            ),
        ],
        stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
        landmarks=shards_of(out("convert", "{shard}", "landmarks.parquet")),
        keypoints=expand(
            out("keypoints", "{name}", "{shard}.parquet"), name=DETECTORS, shard=SHARDS
        ),
        crop_tables=expand(
            out("rois", "{name}", "{shard}", "rois.parquet"),
            name=ROI_SETS,
            shard=SHARDS,
        ),
        crop_arrays=expand(
            out("rois", "{name}", "{shard}", "rois.npy"),
            name=ROI_SETS,
            shard=SHARDS,
        ),
        histories=HISTORIES,
        probabilities=out("ensemble", "probabilities.parquet"),
        prior=out("ensemble", "prior.parquet"),
        score=out("ensemble", "score.json"),
        filled=out("ensemble", "filled.csv"),
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
        code=code_fingerprint(
            "write_report",
            resources=REPORT_RESOURCES,
        ),
        cohort=COHORT,
        kind=config["cohort"]["kind"],
        options=config["report"],
        seed=config["runtime"]["seed"],
        # The whole configuration is printed in the report: any key that changes, changes it.
        config=config,
        benchmarks=f"{RESULTS}/benchmarks",
        fingerprints={stage: code_fingerprint(stage) for stage in STAGES},
    message:
        "Writing the report"
    script:
        "../scripts/write_report.py"
