rule prepare_canvases:
    input:
        clock=clock_of("prepare_canvases"),
        stacks=out("convert", "{shard}", "stacks.parquet"),
    output:
        volumes=out("grade", "canvases", "{canvas}", "{shard}.npy"),
    log:
        log_of("prepare_canvases_{canvas}_{shard}"),
    benchmark:
        benchmark_of("prepare_canvases_{canvas}_{shard}")
    wildcard_constraints:
        canvas=any_of(CANVASES),
        shard=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        fingerprint=fingerprint_of("prepare_canvases"),
        code=code_fingerprint("prepare_canvases"),
        target=lambda w: CANVASES[w.canvas][0],
        canvas_px=lambda w: CANVASES[w.canvas][1],
    message:
        "Bringing the stacks of shard {wildcards.shard} to the canvas {wildcards.canvas}"
    script:
        "../scripts/prepare_canvases.py"


# Some kinds find points, too: the same rule with more outputs.
PREDICTED_BY = {
    "predict_grader": [name for name in IN_ROOM["grade"] if name not in POINT_GRADERS],
    "predict_points_and_grades": POINT_GRADERS,
}
MORE_OUTPUTS = {
    output: out("grade", "{learner}", f"{output}.parquet")
    for output in (LEARNERS[POINT_GRADERS[0]].outputs if POINT_GRADERS else ())
}

for RULE, NAMES in PREDICTED_BY.items():

    rule:
        name:
            RULE
        input:
            unpack(lambda w: learner_inputs(w.learner, "predict")),
            clock=clock_of(RULE),
            weights=lambda w: weights_of(w.learner),
        output:
            **(MORE_OUTPUTS if NAMES is POINT_GRADERS else {}),
            out_of_fold=out("grade", "{learner}", "oof.parquet"),
            new=out("grade", "{learner}", "new.parquet"),
        log:
            log_of(f"{RULE}_{{learner}}"),
        benchmark:
            benchmark_of(f"{RULE}_{{learner}}")
        wildcard_constraints:
            learner=any_of(NAMES),
        conda:
            "../envs/torch.yaml"
        threads: config["runtime"]["math_threads"]
        resources:
            mem_mb=memory_of("predict"),
            runtime=minutes_of("predict"),
            gpu=gpus,
        params:
            **learner_params("predict_grader", "predict"),
            fingerprint=fingerprint_of(RULE),
        message:
            "Predicting with {wildcards.learner}, each study by models that never saw it"
        script:
            "../scripts/predict_grader.py"


rule measure_grader:
    input:
        clock=clock_of("measure_grader"),
        labels=out("cohort", "labels.parquet"),
        folds=out("cohort", "folds.parquet"),
        stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
        landmarks=shards_of(out("convert", "{shard}", "landmarks.parquet")),
        out_of_fold=out("grade", "{learner}", "oof.parquet"),
        plain=out("grade", "{learner}", "plain.parquet"),
        keypoints=out("grade", "{learner}", "keypoints.parquet"),
        plain_keypoints=out("grade", "{learner}", "plain_keypoints.parquet"),
        truth=TRUTH,
        floor=FLOOR,
    output:
        errors=out("grade", "{learner}", "errors.parquet"),
        summary=out("grade", "{learner}", "validation.json"),
    log:
        log_of("measure_grader_{learner}"),
    benchmark:
        benchmark_of("measure_grader_{learner}")
    wildcard_constraints:
        learner=any_of(POINT_GRADERS),
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        fingerprint=fingerprint_of("measure_grader"),
        code=code_fingerprint("measure_grader", *REGION_MODULES),
        region=REGION,
        block=lambda w: LEARNERS[w.learner].needs("predict").block,
        resamples=config["combine"]["bootstrap_resamples"],
        seed=config["runtime"]["seed"],
    message:
        "Measuring {wildcards.learner} out of fold"
    script:
        "../scripts/measure_grader.py"
