from functools import cache

from spinegrade.combine.members import chosen_members
from spinegrade.combine.outside import check_files, content_digest
from spinegrade.errors import SpinegradeError

# Where the predictions of each that may be a member lie.
PREDICTED_IN = (
    {}
    if LABELS_ALONE
    else {
        **{name: out("classifiers", name) for name in CLASSIFIERS},
        **{name: out("one_stage", name) for name, block in NETWORKS.items() if block["ensemble"]},
        **{name: out("two_stage", name) for name, block in GRADERS.items() if block["ensemble"]},
    }
)
MEMBERS, OUTSIDE_MEMBERS = chosen_members(
    config["ensemble"]["members"], PREDICTED_IN, config["ensemble"]["outside"]
)
if LABELS_ALONE and not OUTSIDE_MEMBERS:
    raise SpinegradeError(
        "cohort.kind is kaggle_labels, a cohort without images, and no table of predictions takes "
        "part; name at least one in ensemble.outside"
    )
OUTSIDE = {name: config["ensemble"]["outside"][name] for name in OUTSIDE_MEMBERS}
check_files(OUTSIDE)
ENSEMBLE_SETTINGS = {
    **{
        key: value for key, value in config["ensemble"].items() if key not in ("members", "outside")
    },
    "seed": config["runtime"]["seed"],
}


@cache
def outside_digests():
    """The digest of each outside table's bytes: one that changed is fitted again."""
    return {name: content_digest(table["path"]) for name, table in OUTSIDE.items()}


if PHANTOM:
    SAMPLE_SUBMISSION = [out("phantom", "sample_submission.csv")]
else:
    sample_file = Path(config["cohort"]["root"]) / "sample_submission.csv"
    SAMPLE_SUBMISSION = [str(sample_file)] if sample_file.exists() else []
