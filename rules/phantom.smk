rule make_phantom:
    input:
        clock=clock_of("make_phantom"),
    output:
        labels=out("phantom", "train.csv"),
        coordinates=out("phantom", "train_label_coordinates.csv"),
        train_series=out("phantom", "train_series_descriptions.csv"),
        test_series=out("phantom", "test_series_descriptions.csv"),
        sample=out("phantom", "sample_submission.csv"),
        truth=out("phantom", "truth.parquet"),
        floor=out("phantom", "floor.json"),
        manifest=out("phantom", "phantom.json"),
    log:
        log_of("make_phantom"),
    benchmark:
        benchmark_of("make_phantom")
    conda:
        "../envs/torch.yaml"
    threads: workflow.cores
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        fingerprint=fingerprint_of("make_phantom"),
        code=code_fingerprint(
            "make_phantom", resources=("resources/anatomy/lumbar_statistics.json",)
        ),
        settings=config["phantom"],
        math_threads=1,
    message:
        "Making a phantom cohort of lumbar MRI"
    script:
        "../scripts/make_phantom.py"
