rule train_regressor:
    input:
        clock=clock_of("train_regressor"),
        studies=settled("train_regressor", out("cohort", "studies.parquet")),
        folds=settled("train_regressor", out("cohort", "folds.parquet")),
        stacks=settled("train_regressor", shards_of(out("convert", "{shard}", "stacks.parquet"))),
        landmarks=settled(
            "train_regressor", shards_of(out("convert", "{shard}", "landmarks.parquet"))
        ),
    output:
        weights=out("keypoints", "{detector}", "fold_{fold}", "weights.safetensors"),
        history=out("keypoints", "{detector}", "fold_{fold}", "history.csv"),
    log:
        log_of("train_regressor_{detector}_{fold}"),
    benchmark:
        benchmark_of("train_regressor_{detector}_{fold}")
    wildcard_constraints:
        detector="|".join(REGRESSORS) or "none",
        fold=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=4000,
        runtime=720,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("train_regressor"),
        code=lambda w: regressor_code("train_regressor", w.detector),
        upstream=lambda w: made_with(
            "index_cohort", "split_folds", "convert_dicom", "locate_landmarks"
        ),
        digest=lambda w: regressor_digest(w.detector, w.fold),
        regressor=lambda w: regressor_block(w.detector),
        checkpoint=out("keypoints", ".checkpoints", "{detector}_fold_{fold}.pt"),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Training regressor {wildcards.detector} on all studies outside fold {wildcards.fold}"
    script:
        "../scripts/train_regressor.py"


rule infer_regressor:
    input:
        clock=clock_of("infer_regressor"),
        studies=settled("infer_regressor", out("cohort", "studies.parquet")),
        # To models that were trained elsewhere every study is new: no folds.
        folds=[] if APPLY else settled("infer_regressor", out("cohort", "folds.parquet")),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        weights=lambda w: regressor_weights(w.detector),
        xy_weights=lambda w: regressor_weights(XY_FROM[w.detector]) if w.detector in XY_FROM else [],
    output:
        keypoints=out("keypoints", "{detector}", "{shard}.parquet"),
        rejected=out("keypoints", "{detector}", "{shard}.rejected.parquet"),
    log:
        log_of("infer_regressor_{detector}_{shard}"),
    benchmark:
        benchmark_of("infer_regressor_{detector}_{shard}")
    wildcard_constraints:
        detector="|".join(POINT_REGRESSORS) or "none",
        shard=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("infer_regressor"),
        code=lambda w: regressor_code("infer_regressor", w.detector),
        upstream=lambda w: made_with("index_cohort", "split_folds"),
        digest=shard_digest("folds"),
        xy_from=lambda w: XY_FROM.get(w.detector),
        regressor=lambda w: config["keypoints"]["regressors"][w.detector],
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Finding {wildcards.detector} points in shard {wildcards.shard} with models that never saw them"
    script:
        "../scripts/infer_regressor.py"


rule fit_projection:
    input:
        clock=clock_of("fit_projection"),
        studies=settled("fit_projection", out("cohort", "studies.parquet")),
        folds=settled("fit_projection", out("cohort", "folds.parquet")),
        landmarks=settled(
            "fit_projection", shards_of(out("convert", "{shard}", "landmarks.parquet"))
        ),
    output:
        offsets=out("keypoints", "{detector}", "fold_{fold}", "offsets.json"),
    log:
        log_of("fit_projection_{detector}_{fold}"),
    benchmark:
        benchmark_of("fit_projection_{detector}_{fold}")
    wildcard_constraints:
        detector="|".join(PROJECTIONS) or "none",
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
        "Measuring the steps of {wildcards.detector} on all studies outside fold {wildcards.fold}"
    script:
        "../scripts/fit_projection.py"


rule project_keypoints:
    input:
        clock=clock_of("project_keypoints"),
        studies=settled("project_keypoints", out("cohort", "studies.parquet")),
        # To steps that were measured elsewhere every study is new: no folds.
        folds=[] if APPLY else settled("project_keypoints", out("cohort", "folds.parquet")),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        offsets=lambda w: projection_offsets(w.detector),
        points=lambda w: [
            out("keypoints", name, f"{w.shard}.parquet")
            for name in PROJECTIONS[w.detector]["points_of"]
        ],
    output:
        keypoints=out("keypoints", "{detector}", "{shard}.parquet"),
        rejected=out("keypoints", "{detector}", "{shard}.rejected.parquet"),
    log:
        log_of("project_keypoints_{detector}_{shard}"),
    benchmark:
        benchmark_of("project_keypoints_{detector}_{shard}")
    wildcard_constraints:
        detector="|".join(PROJECTIONS) or "none",
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
        max_distance_mm=lambda w: PROJECTIONS[w.detector]["max_distance_mm"],
    message:
        "Projecting sagittal points of shard {wildcards.shard} for {wildcards.detector}"
    script:
        "../scripts/project_keypoints.py"
