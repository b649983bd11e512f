rule infer_localiser:
    input:
        unpack(
            settled(
                "infer_localiser",
                lambda w: {
                    name: paths
                    for name, paths in learner_inputs(w.learner, "predict").items()
                    if name in ("studies", "folds")
                },
            )
        ),
        clock=clock_of("infer_localiser"),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        weights=lambda w: weights_of(w.learner),
        levels=lambda w: [
            out("localise", guide, f"{w.shard}.parquet") for guide in guides_of(w.learner)
        ],
        xy_weights=lambda w: [
            path
            for places in [LEARNERS[w.learner].needs("predict").places]
            for path in (weights_of(places) if places else [])
        ],
    output:
        keypoints=out("localise", "{learner}", "{shard}.parquet"),
        rejected=out("localise", "{learner}", "{shard}.rejected.parquet"),
    log:
        log_of("infer_localiser_{learner}_{shard}"),
    benchmark:
        benchmark_of("infer_localiser_{learner}_{shard}")
    wildcard_constraints:
        learner=any_of(name for name in IN_ROOM["localise"] if name in FOUND_BY),
        shard=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=memory_of("predict"),
        runtime=minutes_of("predict"),
        gpu=gpus,
    params:
        **learner_params("infer_localiser", "predict"),
        fingerprint=fingerprint_of("infer_localiser"),
        upstream=lambda w: made_with("index_cohort", "split_folds"),
        digest=shard_digest("folds"),
    message:
        "Finding the points of {wildcards.learner} in shard {wildcards.shard}, each study by models that never saw it"
    script:
        "../scripts/infer_localiser.py"


rule measure_localiser:
    input:
        keypoints=lambda w: shards_of(out("localise", w.learner, "{shard}.parquet")),
        clock=clock_of("measure_localiser"),
        stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
        landmarks=shards_of(out("convert", "{shard}", "landmarks.parquet")),
    output:
        errors=out("localise", "{learner}", "errors.parquet"),
        summary=out("localise", "{learner}", "errors.json"),
    log:
        log_of("measure_localiser_{learner}"),
    benchmark:
        benchmark_of("measure_localiser_{learner}")
    wildcard_constraints:
        learner=any_of(FOUND_BY),
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        fingerprint=fingerprint_of("measure_localiser"),
        code=code_fingerprint("measure_localiser"),
        targets=lambda w: FOUND_BY[w.learner],
    message:
        "Measuring the out-of-fold error of {wildcards.learner}"
    script:
        "../scripts/measure_localiser.py"


rule fit_projection:
    input:
        clock=clock_of("fit_projection"),
        studies=settled("fit_projection", out("cohort", "studies.parquet")),
        folds=settled("fit_projection", out("cohort", "folds.parquet")),
        landmarks=settled(
            "fit_projection", shards_of(out("convert", "{shard}", "landmarks.parquet"))
        ),
    output:
        offsets=out("localise", "{projection}", "fold_{fold}", "offsets.json"),
    log:
        log_of("fit_projection_{projection}_{fold}"),
    benchmark:
        benchmark_of("fit_projection_{projection}_{fold}")
    wildcard_constraints:
        projection=any_of(PROJECTIONS),
        fold=r"\d+",
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        fingerprint=fingerprint_of("fit_projection"),
        code=code_fingerprint("fit_projection"),
        upstream=lambda w: made_with(
            "index_cohort", "split_folds", "convert_dicom", "locate_landmarks"
        ),
        digest=training_digest("files", "series", "landmarks"),
    message:
        "Measuring the steps of {wildcards.projection} on all studies outside fold {wildcards.fold}"
    script:
        "../scripts/fit_projection.py"


rule project_keypoints:
    input:
        clock=clock_of("project_keypoints"),
        studies=settled("project_keypoints", out("cohort", "studies.parquet")),
        # To steps that were measured elsewhere every study is new: no folds.
        folds=[] if APPLY else settled("project_keypoints", out("cohort", "folds.parquet")),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        offsets=lambda w: of_folds("localise", w.projection, "offsets.json"),
        points=lambda w: [
            out("localise", name, f"{w.shard}.parquet") for name in guides_of(w.projection)
        ],
    output:
        keypoints=out("localise", "{projection}", "{shard}.parquet"),
        rejected=out("localise", "{projection}", "{shard}.rejected.parquet"),
    log:
        log_of("project_keypoints_{projection}_{shard}"),
    benchmark:
        benchmark_of("project_keypoints_{projection}_{shard}")
    wildcard_constraints:
        projection=any_of(PROJECTIONS),
        shard=r"\d+",
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        fingerprint=fingerprint_of("project_keypoints"),
        code=code_fingerprint("project_keypoints"),
        upstream=lambda w: made_with("index_cohort", "split_folds"),
        digest=shard_digest("folds"),
        max_distance_mm=lambda w: PROJECTIONS[w.projection]["max_distance_mm"],
    message:
        "Projecting sagittal points of shard {wildcards.shard} for {wildcards.projection}"
    script:
        "../scripts/project_keypoints.py"
