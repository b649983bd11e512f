from spinegrade.rois.settings import check_roi_sets

ROI_SETS = config["rois"]["sets"]
check_roi_sets(ROI_SETS, config["keypoints"]["detectors"])


rule crop_rois:
    input:
        keypoints=lambda w: out("keypoints", ROI_SETS[w.roi_set]["detector"], f"{w.shard}.parquet"),
        stacks=out("convert", "{shard}", "stacks.parquet"),
        labels=out("cohort", "labels.parquet"),
        # To models that were trained elsewhere every study is new: no folds.
        folds=[] if APPLY else out("cohort", "folds.parquet"),
        errors=trained("keypoints", "errors.json"),
    output:
        array=out("rois", "{roi_set}", "{shard}", "rois.npy"),
        table=out("rois", "{roi_set}", "{shard}", "rois.parquet"),
    log:
        log_of("crop_rois_{roi_set}_{shard}"),
    benchmark:
        benchmark_of("crop_rois_{roi_set}_{shard}")
    wildcard_constraints:
        roi_set="|".join(ROI_SETS),
        shard=r"\d+",
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        code=code_fingerprint("crop_rois"),
        roi_set=lambda w: ROI_SETS[w.roi_set],
    message:
        "Cropping {wildcards.roi_set} around the keypoints of shard {wildcards.shard}"
    script:
        "../scripts/crop_rois.py"
