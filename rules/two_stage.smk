include: "inputs/two_stage.smk"


rule train_two_stage:
    input:
        clock=clock_of("train_two_stage"),
        studies=settled("train_two_stage", out("cohort", "studies.parquet")),
        folds=settled("train_two_stage", out("cohort", "folds.parquet")),
        labels=settled("train_two_stage", out("cohort", "labels.parquet")),
        arrays=settled("train_two_stage", lambda w: grader_crops(w.grader, "rois.npy")),
        tables=settled("train_two_stage", lambda w: grader_crops(w.grader, "rois.parquet")),
        slices=settled("train_two_stage", lambda w: grader_sequences(w.grader, "slices.npy")),
        sequences=settled(
            "train_two_stage", lambda w: grader_sequences(w.grader, "sequences.parquet")
        ),
    output:
        weights=out("two_stage", "{grader}", "fold_{fold}", "weights.safetensors"),
        history=out("two_stage", "{grader}", "fold_{fold}", "history.csv"),
    log:
        log_of("train_two_stage_{grader}_{fold}"),
    benchmark:
        benchmark_of("train_two_stage_{grader}_{fold}")
    wildcard_constraints:
        grader="|".join(GRADERS) or "none",
        fold=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=24000 if gpus_here() else 12000,
        runtime=1440,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("train_two_stage"),
        code=lambda w: grader_code("train_two_stage", w.grader),
        upstream=lambda w: grader_made_with(w.grader),
        digest=all_training_digest("files", "series", "landmarks", "labels", "folds"),
        grader=lambda w: grader_settings(w.grader, "train_two_stage"),
        shapes=lambda w: grader_shapes(w.grader),
        checkpoint=out("two_stage", ".checkpoints", "{grader}_fold_{fold}.pt"),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Training grader {wildcards.grader} on all studies outside fold {wildcards.fold}"
    script:
        "../scripts/train_two_stage.py"


rule predict_two_stage:
    input:
        clock=clock_of("predict_two_stage"),
        studies=out("cohort", "studies.parquet"),
        # To graders that were trained elsewhere every study is new: no folds.
        folds=[] if APPLY else out("cohort", "folds.parquet"),
        arrays=lambda w: grader_crops(w.grader, "rois.npy"),
        tables=lambda w: grader_crops(w.grader, "rois.parquet"),
        slices=lambda w: grader_sequences(w.grader, "slices.npy"),
        sequences=lambda w: grader_sequences(w.grader, "sequences.parquet"),
        weights=lambda w: grader_weights(w.grader),
    output:
        out_of_fold=out("two_stage", "{grader}", "oof.parquet"),
        new=out("two_stage", "{grader}", "new.parquet"),
    log:
        log_of("predict_two_stage_{grader}"),
    benchmark:
        benchmark_of("predict_two_stage_{grader}")
    wildcard_constraints:
        grader="|".join(GRADERS) or "none",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("predict_two_stage"),
        code=lambda w: grader_code("predict_two_stage", w.grader),
        grader=lambda w: grader_settings(w.grader, "predict_two_stage"),
        shapes=lambda w: grader_shapes(w.grader),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Predicting with grader {wildcards.grader}, each study by a model that never saw it"
    script:
        "../scripts/predict_two_stage.py"
