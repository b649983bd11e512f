include: "inputs/one_stage.smk"


rule prepare_one_stage:
    input:
        clock=clock_of("prepare_one_stage"),
        stacks=out("convert", "{shard}", "stacks.parquet"),
    output:
        volumes=out("one_stage", "canvases", "{canvas}", "{shard}.npy"),
    log:
        log_of("prepare_one_stage_{canvas}_{shard}"),
    benchmark:
        benchmark_of("prepare_one_stage_{canvas}_{shard}")
    wildcard_constraints:
        canvas="|".join(CANVASES) or "none",
        shard=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        fingerprint=fingerprint_of("prepare_one_stage"),
        code=code_fingerprint("prepare_one_stage"),
        target=lambda w: CANVASES[w.canvas][0],
        canvas_px=lambda w: CANVASES[w.canvas][1],
    message:
        "Bringing the stacks of shard {wildcards.shard} to the canvas {wildcards.canvas}"
    script:
        "../scripts/prepare_one_stage.py"


rule train_one_stage:
    input:
        clock=clock_of("train_one_stage"),
        studies=settled("train_one_stage", out("cohort", "studies.parquet")),
        folds=settled("train_one_stage", out("cohort", "folds.parquet")),
        labels=settled("train_one_stage", out("cohort", "labels.parquet")),
        stacks=settled("train_one_stage", shards_of(out("convert", "{shard}", "stacks.parquet"))),
        landmarks=settled(
            "train_one_stage", shards_of(out("convert", "{shard}", "landmarks.parquet"))
        ),
        volumes=settled("train_one_stage", lambda w: canvases_of(w.network)),
    output:
        weights=out("one_stage", "{network}", "fold_{fold}", "weights.safetensors"),
        history=out("one_stage", "{network}", "fold_{fold}", "history.csv"),
    log:
        log_of("train_one_stage_{network}_{fold}"),
    benchmark:
        benchmark_of("train_one_stage_{network}_{fold}")
    wildcard_constraints:
        network="|".join(NETWORKS) or "none",
        fold=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=24000 if gpus_here() else 12000,
        runtime=1440,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("train_one_stage"),
        code=lambda w: network_code("train_one_stage", w.network),
        upstream=lambda w: canvases_made_with(w.network),
        digest=lambda w: network_digest(w.network, w.fold),
        network=lambda w: network_settings(w.network, "train_one_stage"),
        checkpoint=out("one_stage", ".checkpoints", "{network}_fold_{fold}.pt"),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Training network {wildcards.network} on all studies outside fold {wildcards.fold}"
    script:
        "../scripts/train_one_stage.py"


rule predict_one_stage:
    input:
        clock=clock_of("predict_one_stage"),
        studies=out("cohort", "studies.parquet"),
        # To networks that were trained elsewhere every study is new: no folds.
        folds=[] if APPLY else out("cohort", "folds.parquet"),
        stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
        volumes=lambda w: canvases_of(w.network),
        weights=lambda w: network_weights(w.network),
    output:
        out_of_fold=out("one_stage", "{network}", "oof.parquet"),
        new=out("one_stage", "{network}", "new.parquet"),
        keypoints=out("one_stage", "{network}", "keypoints.parquet"),
        plain=out("one_stage", "{network}", "plain.parquet"),
        plain_keypoints=out("one_stage", "{network}", "plain_keypoints.parquet"),
        rejected=out("one_stage", "{network}", "rejected.parquet"),
    log:
        log_of("predict_one_stage_{network}"),
    benchmark:
        benchmark_of("predict_one_stage_{network}")
    wildcard_constraints:
        network="|".join(NETWORKS) or "none",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("predict_one_stage"),
        code=lambda w: network_code("predict_one_stage", w.network),
        network=lambda w: network_settings(w.network, "predict_one_stage"),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Predicting with network {wildcards.network}, each study by a model that never saw it"
    script:
        "../scripts/predict_one_stage.py"


rule validate_one_stage:
    input:
        clock=clock_of("validate_one_stage"),
        labels=out("cohort", "labels.parquet"),
        folds=out("cohort", "folds.parquet"),
        stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
        landmarks=shards_of(out("convert", "{shard}", "landmarks.parquet")),
        out_of_fold=out("one_stage", "{network}", "oof.parquet"),
        plain=out("one_stage", "{network}", "plain.parquet"),
        keypoints=out("one_stage", "{network}", "keypoints.parquet"),
        plain_keypoints=out("one_stage", "{network}", "plain_keypoints.parquet"),
        truth=TRUTH,
        floor=FLOOR,
    output:
        errors=out("one_stage", "{network}", "errors.parquet"),
        summary=out("one_stage", "{network}", "validation.json"),
    log:
        log_of("validate_one_stage_{network}"),
    benchmark:
        benchmark_of("validate_one_stage_{network}")
    wildcard_constraints:
        network="|".join(NETWORKS) or "none",
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        fingerprint=fingerprint_of("validate_one_stage"),
        code=code_fingerprint("validate_one_stage"),
        network=lambda w: network_settings(w.network, "validate_one_stage"),
        resamples=config["ensemble"]["bootstrap_resamples"],
        seed=config["runtime"]["seed"],
    message:
        "Measuring network {wildcards.network} out of fold"
    script:
        "../scripts/validate_one_stage.py"


rule compare_one_stage_flips:
    input:
        clock=clock_of("compare_one_stage_flips"),
        labels=out("cohort", "labels.parquet"),
        bugged_errors=out("one_stage", "{bugged}", "errors.parquet"),
        bugged_predictions=out("one_stage", "{bugged}", "oof.parquet"),
        fixed_errors=out("one_stage", "{fixed}", "errors.parquet"),
        fixed_predictions=out("one_stage", "{fixed}", "oof.parquet"),
    output:
        comparison=out("one_stage", "flips", "{bugged}_{fixed}.json"),
    log:
        log_of("compare_one_stage_flips_{bugged}_{fixed}"),
    benchmark:
        benchmark_of("compare_one_stage_flips_{bugged}_{fixed}")
    wildcard_constraints:
        bugged="|".join(pair.bugged for pair in FLIP_PAIRS) or "none",
        fixed="|".join(pair.fixed for pair in FLIP_PAIRS) or "none",
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        fingerprint=fingerprint_of("compare_one_stage_flips"),
        code=code_fingerprint("compare_one_stage_flips"),
        target=lambda w: NETWORKS[w.fixed]["target"],
        networks=lambda w: {"bugged": w.bugged, "fixed": w.fixed},
        resamples=config["ensemble"]["bootstrap_resamples"],
        seed=config["runtime"]["seed"],
    message:
        "Measuring what the flip of {wildcards.bugged} costs against {wildcards.fixed}"
    script:
        "../scripts/compare_one_stage_flips.py"
