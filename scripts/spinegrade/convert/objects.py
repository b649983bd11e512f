"""What a DICOM object is by its own word: SOP class and Modality, where they are there.

A result that is stored beside the images (a segmentation, a dose, a map of values) has the shape
and the place of an image, and is none. Both elements are absent in anonymised files, such as
those of the RSNA 2024 studies: absence says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from spinegrade.convert import tags
from spinegrade.convert.elements import Elements
from spinegrade.convert.refusals import Refused

_STANDARD = "1.2.840.10008."
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# The classes of the standard that hold pictures of a patient, by what follows _STORAGE. Those
# of a first number here are: radiography, CT, ultrasound, angiography and fluoroscopy, 3D X-ray,
# optical coherence, nuclear medicine, visible light, PET.
_PICTURES_OF = {"1", "2", "3", "5", "6", "12", "13", "14", "20", "77", "128", "130"}
_PICTURES = {
    *("4", "4.1", "4.3", "4.4"),  # MR without spectroscopy
    *("7", "7.1", "7.2", "7.3", "7.4"),  # secondary captures
    *("481.1", "481.23", "481.24"),  # radiotherapy images
}
# A relationship of two images, and an analysis of layers.
_NO_PICTURES = {"77.1.5.3", "77.1.5.8"}
_CAPTURES = {f"{_STORAGE}{number}".encode() for number in ("7", "7.1", "7.2", "7.3", "7.4")}
# Classes younger than the dictionary of names.
_NAMES = {
    f"{_STORAGE}66.7": "Label Map Segmentation Storage",
    f"{_STORAGE}66.8": "Height Map Segmentation Storage",
}

# The defined terms of Modality (PS3.3 C.7.3.1.1.1) of objects that are no picture. All others are
# pictures or, as OT, say nothing; so does a term that the standard does not define.
_NO_PICTURE = {
    "ANN": "annotation",
    "AR": "autorefraction",
    "ASMT": "content assessment",
    "AU": "audio",
    "BDUS": "ultrasound densitometry",
    "CTPROTOCOL": "CT protocol",
    "DOC": "document",
    "ECG": "electrocardiography",
    "EEG": "electroencephalography",
    "EMG": "electromyography",
    "EOG": "electrooculography",
    "EPS": "cardiac electrophysiology",
    "FID": "fiducials",
    "HC": "hard copy",
    "HD": "haemodynamic waveform",
    "INVENTORY": "inventory",
    "IOL": "intraocular lens data",
    "KER": "keratometry",
    "KO": "key object selection",
    "LEN": "lensometry",
    "LS": "surface scan",
    "M3D": "model for manufacturing",
    "MS": "spectroscopy",
    "OAM": "ophthalmic axial measurements",
    "OPM": "ophthalmic mapping",
    "OPV": "visual field",
    "OSS": "optical surface scan",
    "PLAN": "plan",
    "POS": "position sensor",
    "PR": "presentation state",
    "REG": "registration",
    "RESP": "respiratory waveform",
    "RTDOSE": "radiotherapy dose",
    "RTINTENT": "radiotherapy intent",
    "RTPLAN": "radiotherapy plan",
    "RTRAD": "radiotherapy radiation",
    "RTRECORD": "radiotherapy record",
    "RTSEGANN": "radiotherapy segment annotation",
    "RTSTRUCT": "radiotherapy structure set",
    "RWV": "real world value map",
    "SEG": "segmentation",
    "SMR": "stereometric relationship",
    "SR": "structured report",
    "SRF": "subjective refraction",
    "STAIN": "slide staining",
    "TEXTUREMAP": "texture map",
    "VA": "visual acuity",
    "XAPROTOCOL": "XA protocol",
}


def sop_class(elements: Elements, meta: Elements) -> bytes:
    """The raw SOPClassUID of a dataset, else that of its file meta information; b"" without."""
    value = elements.raw(tags.SOP_CLASS) or meta.raw(tags.MEDIA_SOP_CLASS) or b""
    return value.strip(b" \0")


def check_picture(elements: Elements, meta: Elements) -> bytes:
    """The raw SOP class of a picture, see ``sop_class``.

    Raises Refused NOT_AN_IMAGE for an object that by its own word is no picture of a patient.
    """
    uid = sop_class(elements, meta)
    found = _why_no_picture(uid, elements.raw(tags.MODALITY) or b"")
    if found:
        raise Refused("NOT_AN_IMAGE", found)
    return uid


def is_picture_class(uid: bytes) -> bool:
    """Whether a SOP class is one of the standard's that hold pictures."""
    text = uid.decode("ascii", "replace")
    rest = text.removeprefix(_STORAGE)
    if rest == text or rest in _NO_PICTURES:
        return False
    return rest in _PICTURES or rest.split(".")[0] in _PICTURES_OF


def class_name(uid: bytes) -> str:
    """The standard's name of a SOP class; never the text of a UID that it does not know."""
    # Imported here: its dictionaries take a while to load, for the rarest of messages.
    from pydicom.uid import UID_dictionary

    text = uid.decode("ascii", "replace")
    known = UID_dictionary.get(text, ("",))[0] or _NAMES.get(text)
    return known or "an unknown SOP class"


@lru_cache(maxsize=256)
def _why_no_picture(uid: bytes, modality: bytes) -> str:
    """What an object is that is no picture; "" for a picture and where nothing is said."""
    if uid.startswith(_STANDARD.encode()) and not is_picture_class(uid):
        return f"{class_name(uid)}: no picture of the patient"
    term = modality.decode("ascii", "replace").strip(" \0").upper()
    if term in _NO_PICTURE:
        return f"Modality {term} ({_NO_PICTURE[term]}): no picture of the patient"
    return ""


def captures_beside_scans(classes: Mapping[str, bytes]) -> dict[str, str]:
    """The files of a series that are secondary captures beside images of a scanner, and why.

    ``classes``: the raw SOP class by file. A capture beside a scanner's images is a saved screen
    or a result. Where a series holds nothing else it may be all that is left of an old scan, and
    stays. So it does beside files that do not say what they are.
    """
    captures = [file for file, uid in classes.items() if uid in _CAPTURES]
    if not captures:
        return {}
    scans = {uid for uid in classes.values() if uid not in _CAPTURES and is_picture_class(uid)}
    if not scans:
        return {}
    beside = f"beside {class_name(min(scans))}: a saved screen or a result"
    return {file: f"{class_name(classes[file])} {beside}" for file in captures}
