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


# The two-stage graders that take part in an ensemble, by family; and the blends that are fitted.
WHOLE = "all_graders"
FAMILIES = {}
for name, block in GRADERS.items():
    if block["ensemble"]:
        kind = "all_view" if block["architecture"] == "all_view" else "single_view"
        FAMILIES.setdefault(kind, []).append(name)
BLENDS = {WHOLE: [name for names in FAMILIES.values() for name in names], **FAMILIES}
# One family alone is the whole: there is nothing to compare it with.
FAMILY_COMPARISON = [out("two_stage", "ensemble", "families.json")] if len(FAMILIES) > 1 else []


def whole_two_stage(wildcards):
    """All that the two-stage system makes; refused where no grader is configured."""
    if not GRADERS:
        raise SpinegradeError(
            "two_stage.graders is empty: give the graders, or a recipe of them, such as "
            "--configfile resources/systems/two_stage_sagittal.yaml"
        )
    if APPLY:
        return expand(out("two_stage", "{grader}", "new.parquet"), grader=GRADERS)
    return [
        *expand(out("two_stage", "{grader}", "oof.parquet"), grader=GRADERS),
        *expand(out("keypoints", "{detector}", "errors.json"), detector=FOUND_BY),
        out("two_stage", "ensemble", WHOLE, "score.json"),
        *FAMILY_COMPARISON,
        out("two_stage", "report.html"),
    ]
