# The published systems as targets: what belongs to one alone, trained, measured and combined.
include: "inputs/systems.smk"


rule one_stage:
    input:
        whole_one_stage,


if not APPLY:

    use rule fit_ensemble as fit_one_stage_ensemble with:
        input:
            clock=clock_of("fit_one_stage_ensemble"),
            labels=out("cohort", "labels.parquet"),
            folds=out("cohort", "folds.parquet"),
            studies=out("cohort", "studies.parquet"),
            oof=[f"{PREDICTED_IN[network]}/oof.parquet" for network in ONE_STAGE],
            new=[f"{PREDICTED_IN[network]}/new.parquet" for network in ONE_STAGE],
            outside=[],
            floor=FLOOR,
        output:
            weights=out("one_stage", "ensemble", "weights.json"),
            probabilities=out("one_stage", "ensemble", "probabilities.parquet"),
            prior=out("one_stage", "ensemble", "prior.parquet"),
            filled=out("one_stage", "ensemble", "filled.csv"),
            score=out("one_stage", "ensemble", "score.json"),
        log:
            log_of("fit_one_stage_ensemble"),
        benchmark:
            benchmark_of("fit_one_stage_ensemble")
        params:
            fingerprint=fingerprint_of("fit_one_stage_ensemble"),
            code=code_fingerprint("fit_ensemble"),
            members=ONE_STAGE,
            outside={},
            digest={},
            settings=ENSEMBLE_SETTINGS,
            math_threads=1,
        message:
            "Weighing the one-stage networks on their out-of-fold probabilities"

    rule write_one_stage_report:
        input:
            clock=clock_of("write_one_stage_report"),
            summaries=expand(out("one_stage", "{network}", "validation.json"), network=NETWORKS),
            errors=expand(out("one_stage", "{network}", "errors.parquet"), network=NETWORKS),
            keypoints=expand(out("one_stage", "{network}", "keypoints.parquet"), network=NETWORKS),
            histories=expand(
                out("one_stage", "{network}", "fold_{fold}", "history.csv"),
                network=NETWORKS,
                fold=FOLDS,
            ),
            flips=[out("one_stage", "flips", f"{a}_{b}.json") for a, b in FLIP_PAIRS],
            score=out("one_stage", "ensemble", "score.json"),
            stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
            landmarks=shards_of(out("convert", "{shard}", "landmarks.parquet")),
        output:
            out("one_stage", "report.html"),
        log:
            log_of("write_one_stage_report"),
        benchmark:
            benchmark_of("write_one_stage_report")
        conda:
            "../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=3000,
            runtime=30,
        params:
            fingerprint=fingerprint_of("write_one_stage_report"),
            code=code_fingerprint(
                "write_one_stage_report",
                resources=REPORT_RESOURCES,
            ),
            networks=list(NETWORKS),
            examples=config["report"]["examples"],
            cohort=COHORT,
        message:
            "Writing the page of the one-stage networks"
        script:
            "../scripts/write_one_stage_report.py"


rule two_stage:
    input:
        whole_two_stage,


if not APPLY:

    use rule fit_ensemble as fit_two_stage_ensemble with:
        input:
            clock=clock_of("fit_two_stage_ensemble"),
            labels=out("cohort", "labels.parquet"),
            folds=out("cohort", "folds.parquet"),
            studies=out("cohort", "studies.parquet"),
            oof=lambda w: [f"{PREDICTED_IN[name]}/oof.parquet" for name in BLENDS[w.blend]],
            new=lambda w: [f"{PREDICTED_IN[name]}/new.parquet" for name in BLENDS[w.blend]],
            outside=[],
            floor=FLOOR,
        output:
            weights=out("two_stage", "ensemble", "{blend}", "weights.json"),
            probabilities=out("two_stage", "ensemble", "{blend}", "probabilities.parquet"),
            prior=out("two_stage", "ensemble", "{blend}", "prior.parquet"),
            filled=out("two_stage", "ensemble", "{blend}", "filled.csv"),
            score=out("two_stage", "ensemble", "{blend}", "score.json"),
        log:
            log_of("fit_two_stage_ensemble_{blend}"),
        benchmark:
            benchmark_of("fit_two_stage_ensemble_{blend}")
        wildcard_constraints:
            blend="|".join(BLENDS) or "none",
        params:
            fingerprint=fingerprint_of("fit_two_stage_ensemble"),
            code=code_fingerprint("fit_ensemble"),
            members=lambda w: BLENDS[w.blend],
            outside={},
            digest={},
            settings=ENSEMBLE_SETTINGS,
            math_threads=1,
        message:
            "Weighing the two-stage graders on their out-of-fold probabilities: {wildcards.blend}"

    rule compare_two_stage_families:
        input:
            clock=clock_of("compare_two_stage_families"),
            labels=out("cohort", "labels.parquet"),
            whole=out("two_stage", "ensemble", WHOLE, "probabilities.parquet"),
            parts=[
                out("two_stage", "ensemble", family, "probabilities.parquet")
                for family in FAMILIES
            ],
        output:
            comparison=out("two_stage", "ensemble", "families.json"),
        log:
            log_of("compare_two_stage_families"),
        benchmark:
            benchmark_of("compare_two_stage_families")
        conda:
            "../envs/base.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=20,
        params:
            fingerprint=fingerprint_of("compare_two_stage_families"),
            code=code_fingerprint("compare_two_stage_families"),
            families=list(FAMILIES),
            resamples=config["ensemble"]["bootstrap_resamples"],
            seed=config["runtime"]["seed"],
        message:
            "Comparing the blend of all graders with that of each family"
        script:
            "../scripts/compare_two_stage_families.py"

    rule write_two_stage_report:
        input:
            clock=clock_of("write_two_stage_report"),
            score=out("two_stage", "ensemble", WHOLE, "score.json"),
            weights=out("two_stage", "ensemble", WHOLE, "weights.json"),
            comparison=FAMILY_COMPARISON,
            errors=expand(out("keypoints", "{detector}", "errors.parquet"), detector=FOUND_BY),
            landmarks=shards_of(out("convert", "{shard}", "landmarks.parquet")),
            truth=TRUTH,
            histories=expand(
                out("two_stage", "{grader}", "fold_{fold}", "history.csv"),
                grader=GRADERS,
                fold=FOLDS,
            ),
        output:
            out("two_stage", "report.html"),
        log:
            log_of("write_two_stage_report"),
        benchmark:
            benchmark_of("write_two_stage_report")
        conda:
            "../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=3000,
            runtime=30,
        params:
            fingerprint=fingerprint_of("write_two_stage_report"),
            code=code_fingerprint(
                "write_two_stage_report",
                resources=REPORT_RESOURCES,
            ),
            graders=list(GRADERS),
            families=FAMILIES,
            cohort=COHORT,
        message:
            "Writing the page of the two-stage system"
        script:
            "../scripts/write_two_stage_report.py"
