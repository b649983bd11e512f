from functools import cache

from spinegrade.combine.members import chosen_members
from spinegrade.combine.outside import check_files, content_digest
from spinegrade.errors import SpinegradeError
from spinegrade.systems import check_systems, systems_of

SYSTEMS = systems_of(config["systems"])
check_systems(SYSTEMS, config["run"], LEARNERS, FOUND_BY)
# Of those that are run, unless members are named; tables of others alone where there are no images.
RUN = [] if LABELS_ALONE else [name for system in config["run"] for name in SYSTEMS[system].members]
ASKED = config["combine"]["members"]
MEMBERS, OUTSIDE_MEMBERS = chosen_members(
    ASKED,
    dict.fromkeys(RUN if ASKED == "all" or LABELS_ALONE else IN_ROOM["grade"]),
    config["combine"]["outside"],
)
if LABELS_ALONE and not OUTSIDE_MEMBERS:
    raise SpinegradeError(
        "cohort.kind is kaggle_labels, a cohort without images, and no table of predictions takes "
        "part; name at least one in combine.outside",
        code="MEMBERS_NONE",
        key="combine.outside",
    )
OUTSIDE = {name: config["combine"]["outside"][name] for name in OUTSIDE_MEMBERS}
check_files(OUTSIDE)
COMBINE_SETTINGS = {
    **{key: value for key, value in config["combine"].items() if key not in ("members", "outside")},
    "seed": config["runtime"]["seed"],
}


def predicted(file, members):
    """That table (oof, new) of these graders."""
    return [out("grade", name, f"{file}.parquet") for name in members]


@cache
def outside_digests():
    """The digest of each outside table's bytes: one that changed is fitted again."""
    return {name: content_digest(table["path"]) for name, table in OUTSIDE.items()}


if PHANTOM:
    SAMPLE_SUBMISSION = [out("phantom", "sample_submission.csv")]
else:
    sample_file = Path(config["cohort"]["root"]) / "sample_submission.csv"
    SAMPLE_SUBMISSION = [str(sample_file)] if sample_file.exists() else []
