include: "inputs/learners.smk"


# One rule text for every kind of learner: a localiser or a grader, one fold at a time.
for ROOM, WHAT in ROOMS.items():

    rule:
        name:
            f"train_{WHAT}"
        input:
            unpack(settled(f"train_{WHAT}", lambda w: learner_inputs(w.learner, "train"))),
            clock=clock_of(f"train_{WHAT}"),
        output:
            weights=out(ROOM, "{learner}", "fold_{fold}", "weights.safetensors"),
            history=out(ROOM, "{learner}", "fold_{fold}", "history.csv"),
        log:
            log_of(f"train_{WHAT}_{{learner}}_{{fold}}"),
        benchmark:
            benchmark_of(f"train_{WHAT}_{{learner}}_{{fold}}")
        wildcard_constraints:
            learner=any_of(IN_ROOM[ROOM]),
            fold=r"\d+",
        conda:
            "../envs/torch.yaml"
        threads: config["runtime"]["math_threads"]
        resources:
            mem_mb=memory_of("train"),
            runtime=minutes_of("train"),
            gpu=gpus,
        params:
            **learner_params("train_learner", "train"),
            fingerprint=fingerprint_of(f"train_{WHAT}"),
            upstream=lambda w: learner_made_with(w.learner),
            digest=lambda w: learner_digest(w.learner, w.fold),
            checkpoint=out(ROOM, ".checkpoints", "{learner}_fold_{fold}.pt"),
        message:
            "Training {wildcards.learner} on all studies outside fold {wildcards.fold}"
        script:
            "../scripts/train_learner.py"
