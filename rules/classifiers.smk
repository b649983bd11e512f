include: "inputs/classifiers.smk"


rule train_classifier:
    input:
        clock=clock_of("train_classifier"),
        studies=settled("train_classifier", out("cohort", "studies.parquet")),
        folds=settled("train_classifier", out("cohort", "folds.parquet")),
        arrays=settled("train_classifier", lambda w: crops_of(w.classifier, "rois.npy")),
        tables=settled("train_classifier", lambda w: crops_of(w.classifier, "rois.parquet")),
    output:
        weights=out("classifiers", "{classifier}", "fold_{fold}", "weights.safetensors"),
        history=out("classifiers", "{classifier}", "fold_{fold}", "history.csv"),
    log:
        log_of("train_classifier_{classifier}_{fold}"),
    benchmark:
        benchmark_of("train_classifier_{classifier}_{fold}")
    wildcard_constraints:
        classifier="|".join(CLASSIFIERS),
        fold=r"\d+",
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=3000,
        runtime=720,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("train_classifier"),
        code=lambda w: classifier_code("train_classifier", w.classifier),
        upstream=lambda w: roi_sets_made_with(CLASSIFIERS[w.classifier].roi_sets),
        digest=all_training_digest("files", "series", "landmarks", "labels", "folds"),
        classifier=lambda w: config["classifiers"][w.classifier],
        shapes=lambda w: crop_shapes_of(w.classifier),
        checkpoint=out("classifiers", ".checkpoints", "{classifier}_fold_{fold}.pt"),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Training fold {wildcards.fold} of classifier {wildcards.classifier}"
    script:
        "../scripts/train_classifier.py"


rule predict_classifier:
    input:
        clock=clock_of("predict_classifier"),
        studies=out("cohort", "studies.parquet"),
        # To models that were trained elsewhere every study is new: no folds.
        folds=[] if APPLY else out("cohort", "folds.parquet"),
        weights=lambda w: weights_of(w.classifier),
        arrays=lambda w: crops_of(w.classifier, "rois.npy"),
        tables=lambda w: crops_of(w.classifier, "rois.parquet"),
    output:
        out_of_fold=out("classifiers", "{classifier}", "oof.parquet"),
        new=out("classifiers", "{classifier}", "new.parquet"),
    log:
        log_of("predict_classifier_{classifier}"),
    benchmark:
        benchmark_of("predict_classifier_{classifier}")
    wildcard_constraints:
        classifier="|".join(CLASSIFIERS),
    conda:
        "../envs/torch.yaml"
    threads: config["runtime"]["math_threads"]
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=gpus,
    params:
        fingerprint=fingerprint_of("predict_classifier"),
        code=lambda w: classifier_code("predict_classifier", w.classifier),
        classifier=lambda w: config["classifiers"][w.classifier],
        shapes=lambda w: crop_shapes_of(w.classifier),
        seed=config["runtime"]["seed"],
        math_threads=config["runtime"]["math_threads"],
        device=config["runtime"]["device"],
    message:
        "Predicting with classifier {wildcards.classifier}, each study by a model that never saw it"
    script:
        "../scripts/predict_classifier.py"
