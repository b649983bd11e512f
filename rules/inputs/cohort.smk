from spinegrade.cohort.layout import LABELS, OPTIONAL, REQUIRED, SUBMISSION
from spinegrade.cohort.layout import csv_path
from spinegrade.errors import SpinegradeError


def cohort_root():
    """The folder with train.csv and train_images/: the user's, or the phantom cohort's."""
    if config["cohort"]["kind"] == "phantom":
        return out("phantom")
    return config["cohort"]["root"]


def cohort_csv(name):
    """Path of a delivered table such as train.csv; None where a user's folder lacks it."""
    if config["cohort"]["kind"] == "phantom":
        return out("phantom", name)
    found = csv_path(cohort_root(), name)
    return None if found is None else str(found)


def cohort_tables():
    """The delivered tables that are there; index_cohort names the missing ones itself."""
    wanted = (LABELS, SUBMISSION) if LABELS_ALONE else (*REQUIRED, *OPTIONAL)
    found = (cohort_csv(name) for name in wanted)
    return [path for path in found if path is not None]


def images_of_cohort(wildcards):
    """What must be made before images are read: a phantom; refused where a cohort has none."""
    if LABELS_ALONE:
        raise SpinegradeError(
            "cohort.kind is kaggle_labels, a cohort without images: nothing can be converted, found "
            "or graded, only tables combined (run snakemake without a target); give "
            "kaggle_rsna2024 where the images are at hand"
        )
    return out("phantom", "phantom.json") if PHANTOM else []


def cohort_listing(wildcards):
    """Changes when image files come or go; a phantom's change with its tables alone."""
    if config["cohort"]["kind"] == "phantom":
        return "phantom"
    if LABELS_ALONE:
        return "no images"
    return DELIVERED.digest("names")
