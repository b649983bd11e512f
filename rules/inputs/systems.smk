from itertools import chain

from spinegrade.learners import unread
from spinegrade.systems import WHOLE


def used_by(names):
    """The learners, projections and sets of crops that learners and projections hang on."""
    graders = [name for name in names if name in IN_ROOM["grade"]]
    needs = [LEARNERS[name].needs("train") for name in graders]
    sets = dict.fromkeys(chain(*(one.sets for one in needs)))
    sequences = [one.sequence for one in needs if one.sequence]
    detectors = {CROPPED[crop].detector for crop in (*sets, *sequences)}
    finders = points_behind(detectors | ({*names} & FOUND_BY.keys()))
    places = (LEARNERS[name].needs("predict").places for name in finders if name in LEARNERS)
    return {
        "learners": {*names, *finders, *places},
        "finders": [name for name in FOUND_BY if name in finders],
        "sets": [name for name in ROI_SETS if name in sets],
        "sequences": [name for name in SEQUENCES if name in sequences],
    }


# What the combination hangs on, and with it the report; in the order of the configuration.
USED = used_by(MEMBERS)
TRAINED_HERE = [name for name in LEARNERS if name in USED["learners"]]

if workflow.is_main_process and not LABELS_ALONE:
    _all = used_by({*MEMBERS, *chain(*(system.learners for system in SYSTEMS.values()))})
    for sentence in [
        *unread(_all["learners"], [*LEARNERS], "learners"),
        *unread(_all["learners"], PROJECTIONS, "projections"),
        *unread(_all["sets"], ROI_SETS, "crop.sets"),
        *unread(_all["sequences"], SEQUENCES, "crop.sequences"),
    ]:
        print(sentence, file=sys.stderr)


def in_system(name, *parts):
    """Path of an output under results/{cohort}/systems/<system>/."""
    return out("systems", name, *parts)


def comparisons_of(system):
    """By the file's name what is compared: the whole with each family, learners with a fault."""
    families = {"families": tuple(system.blends)} if len(system.blends) > 1 else {}
    return families | {f"{one}_{other}": (one, other) for one, other in system.pairs}


def compared(system, comparison):
    """The files of what is compared, in its order: blends, or learners' predictions and errors."""
    names = comparisons_of(SYSTEMS[system])[comparison]
    if comparison == "families":
        return {"blends": [in_system(system, one, "probabilities.parquet") for one in names]}
    graders = [name for name in names if LEARNERS[name].room == "grade"]
    measured = [name for name in names if name in FOUND_BY or name in POINT_GRADERS]
    return {"predictions": predicted("oof", graders), "errors": errors_of(measured)}


def errors_of(names, ending="parquet"):
    """The errors of all that find points."""
    rooms = (("grade" if name in POINT_GRADERS else "localise", name) for name in names)
    return [out(room, name, f"errors.{ending}") for room, name in rooms]


def whole_system(name):
    """All that a system makes."""
    system = SYSTEMS[name]
    graders = [one for one in system.learners if one in IN_ROOM["grade"]]
    if APPLY:
        return predicted("new", graders)
    # Without graders there are only points to be measured.
    page = [in_system(name, "report.html")] if system.members else []
    return [*predicted("oof", graders), *errors_of(system.localisers, "json"), *page]


def system_page(name):
    """What the page of a system shows, by the names of the rule's inputs."""
    system, used = SYSTEMS[name], used_by(SYSTEMS[name].learners)
    points = [one for one in system.learners if one in POINT_GRADERS]
    learners = [one for one in LEARNERS if one in used["learners"]]
    return {
        "score": in_system(name, WHOLE, "score.json"),
        "weights": in_system(name, WHOLE, "weights.json"),
        "comparisons": [
            in_system(name, "compare", f"{one}.json") for one in comparisons_of(system)
        ],
        "summaries": [out("grade", one, "validation.json") for one in points],
        "keypoints": [out("grade", one, "keypoints.parquet") for one in points],
        "errors": errors_of([*used["finders"], *points]),
        "histories": histories_of(learners),
    }


def histories_of(learners):
    """The training histories of these learners."""
    return [
        out(LEARNERS[name].room, name, f"fold_{fold}", "history.csv")
        for name in learners
        for fold in FOLDS
    ]
