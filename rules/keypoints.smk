include: "inputs/keypoints.smk"
include: "inputs/regressors.smk"


rule train_keypoints:
    input:
        clock=clock_of("train_keypoints"),
        studies=settled("train_keypoints", out("cohort", "studies.parquet")),
        folds=settled("train_keypoints", out("cohort", "folds.parquet")),
        stacks=settled("train_keypoints", shards_of(out("convert", "{shard}", "stacks.parquet"))),
        landmarks=settled(
            "train_keypoints", shards_of(out("convert", "{shard}", "landmarks.parquet"))
        ),
    output:
        weights=out("keypoints", "{detector}", "fold_{fold}", "weights.safetensors"),
        history=out("keypoints", "{detector}", "fold_{fold}", "history.csv"),
    log:
        log_of("train_keypoints_{detector}_{fold}"),
    benchmark:
        benchmark_of("train_keypoints_{detector}_{fold}")
    wildcard_constraints:
        detector="|".join(DETECTORS),
        fold=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("train_keypoints"),
        code=lambda w: detector_code("train_keypoints", w.detector),
        upstream=lambda w: made_with(
            "index_cohort", "split_folds", "convert_dicom", "locate_landmarks"
        ),
        digest=training_digest("files", "series", "landmarks"),
        detector=lambda w: DETECTORS[w.detector],
        checkpoint=out("keypoints", ".checkpoints", "{detector}_fold_{fold}.pt"),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Training detector {wildcards.detector} on all studies outside fold {wildcards.fold}"
    script:
        "../scripts/train_keypoints.py"


rule infer_keypoints:
    input:
        clock=clock_of("infer_keypoints"),
        studies=settled("infer_keypoints", out("cohort", "studies.parquet")),
        # To models that were trained elsewhere every study is new: no folds.
        folds=[] if APPLY else settled("infer_keypoints", out("cohort", "folds.parquet")),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        weights=lambda w: detector_weights(w.detector),
        levels=level_keypoints,
    output:
        keypoints=out("keypoints", "{detector}", "{shard}.parquet"),
        rejected=out("keypoints", "{detector}", "{shard}.rejected.parquet"),
    log:
        log_of("infer_keypoints_{detector}_{shard}"),
    benchmark:
        benchmark_of("infer_keypoints_{detector}_{shard}")
    wildcard_constraints:
        detector="|".join(DETECTORS),
        shard=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("infer_keypoints"),
        code=lambda w: detector_code("infer_keypoints", w.detector),
        upstream=lambda w: made_with("index_cohort", "split_folds"),
        digest=shard_digest("folds"),
        detector=lambda w: DETECTORS[w.detector],
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Finding {wildcards.detector} points in shard {wildcards.shard} with models that never saw them"
    script:
        "../scripts/infer_keypoints.py"


rule measure_keypoints:
    input:
        keypoints=lambda w: shards_of(out("keypoints", w.detector, "{shard}.parquet")),
        clock=clock_of("measure_keypoints"),
        stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
        landmarks=shards_of(out("convert", "{shard}", "landmarks.parquet")),
    output:
        errors=out("keypoints", "{detector}", "errors.parquet"),
        summary=out("keypoints", "{detector}", "errors.json"),
    log:
        log_of("measure_keypoints_{detector}"),
    benchmark:
        benchmark_of("measure_keypoints_{detector}")
    wildcard_constraints:
        detector="|".join(FOUND_BY),
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        fingerprint=fingerprint_of("measure_keypoints"),
        code=code_fingerprint("measure_keypoints"),
        targets=lambda w: FOUND_BY[w.detector],
    message:
        "Measuring the out-of-fold error of {wildcards.detector}"
    script:
        "../scripts/measure_keypoints.py"
