rule crop_rois:
    input:
        keypoints=lambda w: out("localise", CROPPED[w.roi_set].detector, f"{w.shard}.parquet"),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        clock=clock_of("crop_rois"),
        labels=settled("crop_rois", out("cohort", "labels.parquet")),
        # To models that were trained elsewhere every study is new: no folds.
        folds=[] if APPLY else settled("crop_rois", out("cohort", "folds.parquet")),
        errors=settled(
            "crop_rois",
            lambda w: trained("localise", CROPPED[w.roi_set].detector, "errors.json"),
        ),
    output:
        array=out("crop", "{roi_set}", "{shard}", "rois.npy"),
        table=out("crop", "{roi_set}", "{shard}", "rois.parquet"),
    log:
        log_of("crop_rois_{roi_set}_{shard}"),
    benchmark:
        benchmark_of("crop_rois_{roi_set}_{shard}")
    wildcard_constraints:
        roi_set=any_of(ROI_SETS),
        shard=r"\d+",
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        fingerprint=fingerprint_of("crop_rois"),
        code=code_fingerprint("crop_rois", REGION_MODULES[0]),
        region=REGION,
        upstream=lambda w: {
            **made_with("index_cohort", "split_folds"),
            **made_with("measure_localiser", learner=CROPPED[w.roi_set].detector),
        },
        digest=shard_digest("folds", "labels"),
        roi_set=lambda w: ROI_SETS[w.roi_set],
    message:
        "Cropping {wildcards.roi_set} around the keypoints of shard {wildcards.shard}"
    script:
        "../scripts/crop_rois.py"


rule crop_sequences:
    input:
        keypoints=lambda w: out("localise", CROPPED[w.sequence].detector, f"{w.shard}.parquet"),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        clock=clock_of("crop_sequences"),
        # To models that were trained elsewhere every study is new: no folds, and no grades.
        landmarks=[] if APPLY else out("convert", "{shard}", "landmarks.parquet"),
        folds=[] if APPLY else settled("crop_sequences", out("cohort", "folds.parquet")),
    output:
        array=out("crop", "{sequence}", "{shard}", "slices.npy"),
        table=out("crop", "{sequence}", "{shard}", "sequences.parquet"),
    log:
        log_of("crop_sequences_{sequence}_{shard}"),
    benchmark:
        benchmark_of("crop_sequences_{sequence}_{shard}")
    wildcard_constraints:
        sequence=any_of(SEQUENCES),
        shard=r"\d+",
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        fingerprint=fingerprint_of("crop_sequences"),
        code=code_fingerprint("crop_sequences"),
        upstream=lambda w: made_with("index_cohort", "split_folds"),
        digest=shard_digest("folds"),
        sequence=lambda w: SEQUENCES[w.sequence],
    message:
        "Cutting the axial slices of {wildcards.sequence} in shard {wildcards.shard}"
    script:
        "../scripts/crop_sequences.py"
