rule draw_dag:
    input:
        clock=clock_of("draw_dag"),
    output:
        multiext(out("dag", "rule_graph"), ".mermaid", ".svg", ".png"),
        multiext(out("dag", "job_graph"), ".mermaid", ".svg", ".png"),
    log:
        log_of("draw_dag"),
    benchmark:
        benchmark_of("draw_dag")
    conda:
        "../envs/base.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        fingerprint=fingerprint_of("draw_dag"),
        code=code_fingerprint("draw_dag"),
        config=config,
        # What hangs on what, as far as it is written out; input functions follow from config.
        rules=lambda w: {
            rule.name: [str(path) for path in rule.input if not callable(path)]
            for rule in workflow.rules
        },
    message:
        "Drawing the rule graph and the job graph of the whole workflow"
    script:
        "../scripts/draw_dag.py"
