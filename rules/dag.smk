rule draw_dag:
    message:
        "Drawing the rule graph and the job graph of the whole workflow"
    output:
        rules=out("dag", "rule_graph.mermaid"),
        jobs=out("dag", "job_graph.mermaid"),
    params:
        code=code_fingerprint("draw_dag"),
        config=config,
        snakefile=workflow.main_snakefile,
    log:
        log_of("draw_dag"),
    benchmark:
        benchmark_of("draw_dag")
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../envs/base.yaml"
    script:
        "../scripts/draw_dag.py"
