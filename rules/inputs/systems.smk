from spinegrade.errors import SpinegradeError

ONE_STAGE = [name for name, block in NETWORKS.items() if block["ensemble"]]


def whole_one_stage(wildcards):
    """All that the one-stage system makes; refused where no network is configured."""
    if not NETWORKS:
        raise SpinegradeError(
            "one_stage.networks is empty: give the networks, or a recipe of them, such as "
            "--configfile resources/systems/one_stage_small.yaml"
        )
    if APPLY:
        return expand(out("one_stage", "{network}", "new.parquet"), network=NETWORKS)
    return [
        *expand(out("one_stage", "{network}", "validation.json"), network=NETWORKS),
        *(out("one_stage", "flips", f"{a}_{b}.json") for a, b in FLIP_PAIRS),
        out("one_stage", "ensemble", "score.json"),
        out("one_stage", "report.html"),
    ]
