# Every system as a target of its own: its graders trained, measured, blended and compared.
TAKEN = {rule.name for rule in workflow.rules} | {"all"}
for SYSTEM in SYSTEMS:
    if SYSTEM in TAKEN:
        raise SpinegradeError(
            f"systems.{SYSTEM} has the name of a rule; give it another",
            code="SYSTEM_NAME_TAKEN",
            key=f"systems.{SYSTEM}",
        )

    rule:
        name:
            SYSTEM
        input:
            (lambda name: lambda w: whole_system(name))(SYSTEM),


if not APPLY:

    use rule fit_ensemble as fit_system_blend with:
        input:
            clock=clock_of("fit_system_blend"),
            labels=out("cohort", "labels.parquet"),
            folds=out("cohort", "folds.parquet"),
            studies=out("cohort", "studies.parquet"),
            oof=lambda w: predicted("oof", SYSTEMS[w.system].blends[w.blend]),
            new=lambda w: predicted("new", SYSTEMS[w.system].blends[w.blend]),
            outside=[],
            floor=FLOOR,
        output:
            weights=in_system("{system}", "{blend}", "weights.json"),
            probabilities=in_system("{system}", "{blend}", "probabilities.parquet"),
            prior=in_system("{system}", "{blend}", "prior.parquet"),
            filled=in_system("{system}", "{blend}", "filled.csv"),
            score=in_system("{system}", "{blend}", "score.json"),
        log:
            log_of("fit_system_blend_{system}_{blend}"),
        benchmark:
            benchmark_of("fit_system_blend_{system}_{blend}")
        wildcard_constraints:
            system=any_of(SYSTEMS),
            blend=any_of(chain(*(system.blends for system in SYSTEMS.values()))),
        params:
            fingerprint=fingerprint_of("fit_system_blend"),
            code=code_fingerprint("fit_ensemble", *REGION_MODULES),
            region=REGION,
            members=lambda w: SYSTEMS[w.system].blends[w.blend],
            outside={},
            digest={},
            settings=COMBINE_SETTINGS,
            math_threads=1,
        message:
            "Weighing the graders of {wildcards.system} on their out-of-fold probabilities: {wildcards.blend}"

    rule compare:
        input:
            unpack(lambda w: compared(w.system, w.comparison)),
            clock=clock_of("compare"),
            labels=out("cohort", "labels.parquet"),
        output:
            comparison=in_system("{system}", "compare", "{comparison}.json"),
        log:
            log_of("compare_{system}_{comparison}"),
        benchmark:
            benchmark_of("compare_{system}_{comparison}")
        wildcard_constraints:
            system=any_of(SYSTEMS),
            comparison=any_of(chain(*map(comparisons_of, SYSTEMS.values()))),
        conda:
            "../envs/base.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=30,
        params:
            fingerprint=fingerprint_of("compare"),
            code=code_fingerprint("compare", *REGION_MODULES),
            region=REGION,
            names=lambda w: comparisons_of(SYSTEMS[w.system])[w.comparison],
            resamples=config["combine"]["bootstrap_resamples"],
            seed=config["runtime"]["seed"],
        message:
            "Comparing {wildcards.comparison} of {wildcards.system}"
        script:
            "../scripts/compare.py"

    rule write_system_report:
        input:
            unpack(lambda w: system_page(w.system)),
            clock=clock_of("write_system_report"),
            stacks=shards_of(out("convert", "{shard}", "stacks.parquet")),
            landmarks=shards_of(out("convert", "{shard}", "landmarks.parquet")),
            truth=TRUTH,
        output:
            in_system("{system}", "report.html"),
        log:
            log_of("write_system_report_{system}"),
        benchmark:
            benchmark_of("write_system_report_{system}")
        wildcard_constraints:
            system=any_of(SYSTEMS),
        conda:
            "../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=3000,
            runtime=30,
        params:
            fingerprint=fingerprint_of("write_system_report"),
            code=code_fingerprint("write_system_report", resources=REPORT_RESOURCES),
            members=lambda w: SYSTEMS[w.system].members,
            families=lambda w: SYSTEMS[w.system].families,
            examples=config["report"]["examples"],
            cohort=COHORT,
        message:
            "Writing the page of {wildcards.system}"
        script:
            "../scripts/write_system_report.py"
