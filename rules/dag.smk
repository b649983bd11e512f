rule draw_dag:
    output:
        rules=out("dag", "rule_graph.mermaid"),
        jobs=out("dag", "job_graph.mermaid"),
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
        code=code_fingerprint("draw_dag"),
        config=config,
        snakefile=workflow.main_snakefile,
    message:
        "Drawing the rule graph and the job graph of the whole workflow"
    script:
        "../scripts/draw_dag.py"
