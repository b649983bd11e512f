from spinegrade.cohort.folders import listing_digest
from spinegrade.cohort.layout import LABELS, OPTIONAL, REQUIRED, SUBMISSION
from spinegrade.cohort.layout import TEST_IMAGES, TRAIN_IMAGES, csv_path


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


def cohort_listing():
    """Changes when image files come or go; a phantom's change with its tables alone."""
    if config["cohort"]["kind"] == "phantom":
        return "phantom"
    if LABELS_ALONE:
        return "no images"
    folders = (f"{cohort_root()}/{part}" for part in (TRAIN_IMAGES, TEST_IMAGES))
    return " ".join(listing_digest(folder) for folder in folders)
