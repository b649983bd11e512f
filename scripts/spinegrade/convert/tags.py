"""The DICOM elements that conversion looks at; every other one is passed over unread."""

from __future__ import annotations

MEDIA_SOP_CLASS = 0x00020002
TRANSFER_SYNTAX = 0x00020010
IMAGE_TYPE = 0x00080008
SOP_CLASS = 0x00080016
MODALITY = 0x00080060
STUDY_UID = 0x0020000D
FRAME_OF_REFERENCE = 0x00200052
INSTANCE_NUMBER = 0x00200013
POSITION = 0x00200032
ORIENTATION = 0x00200037
PIXEL_SPACING = 0x00280030
SPACING_BETWEEN_SLICES = 0x00180088
SLICE_THICKNESS = 0x00180050
SAMPLES = 0x00280002
PHOTOMETRIC = 0x00280004
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
HIGH_BIT = 0x00280102
REPRESENTATION = 0x00280103
PADDING = 0x00280120
PADDING_LIMIT = 0x00280121
RESCALE_INTERCEPT = 0x00281052
RESCALE_SLOPE = 0x00281053
SHARED_GROUPS = 0x52009229
PER_FRAME_GROUPS = 0x52009230
FLOAT_PIXEL_DATA = (0x7FE00008, 0x7FE00009)
PIXEL_DATA = 0x7FE00010

# Tags that say from which source a slice comes, the most telling first: slices whose values
# differ are never put into one volume. Names of enhanced files' counterparts beside them.
SOURCE_TAGS = {
    0x0020000E: "SeriesInstanceUID",
    IMAGE_TYPE: "ImageType",
    0x00089007: "FrameType",
    0x00089208: "ComplexImageComponent",
    0x00180081: "EchoTime",
    0x00189082: "EffectiveEchoTime",
    0x00180086: "EchoNumbers",
    0x00200100: "TemporalPositionIdentifier",
    0x00209128: "TemporalPositionIndex",
    0x00189087: "DiffusionBValue",
    0x00431039: "GE b-value",
    0x0019100C: "Siemens b-value",
    0x20011003: "Philips b-value",
    0x00180082: "InversionTime",
    0x00189079: "InversionTimes",
    0x00180010: "ContrastBolusAgent",
    0x00209056: "StackID",
}
# Echo and inversion times are written with noise: closer than this share they are the same.
NOISY_TAGS = {0x00180081, 0x00180082, 0x00189079, 0x00189082}
SAME_SHARE = 0.02
# Free text: only whether it is there is kept.
PRESENCE_TAGS = {0x00180010}
# Numbers in binary; the others are text, which writers pad as they like.
BINARY_TAGS = {0x00189082, 0x00209128, 0x00189087, 0x00189079, 0x00189089, 0x00189153}

# Tags that also differ within one volume (interleaved passes, table positions, triggering):
# asked only where several slices lie at one position.
ACQUISITION_TAGS = {
    0x00200012: "AcquisitionNumber",
    0x00209156: "FrameAcquisitionNumber",
    0x0008002A: "AcquisitionDateTime",
    0x00080032: "AcquisitionTime",
    0x00189074: "FrameAcquisitionDateTime",
}
VOLUME_TAGS = {
    **{
        0x00189089: "DiffusionGradientOrientation",
        # What MR scanners wrote before the standard had a place for diffusion weighting.
        0x001910BB: "GE gradient x",
        0x001910BC: "GE gradient y",
        0x001910BD: "GE gradient z",
        0x0019100E: "Siemens gradient",
        0x20011004: "Philips gradient",
        0x00181314: "FlipAngle",
        0x00181060: "TriggerTime",
        0x00189153: "NominalCardiacTriggerDelayTime",
    },
    **ACQUISITION_TAGS,
}
DIMENSION_INDEX = 0x00209157
LOSSY = 0x00282110
IDENTITY_TAGS = (
    SOURCE_TAGS
    | VOLUME_TAGS
    | {DIMENSION_INDEX: "DimensionIndexValues", LOSSY: "LossyImageCompression"}
)
# Above every tag of 32 bits.
_FIRST_DIMENSION = 1 << 32


def dimension_tag(component: int) -> int:
    """The number under which one component of DimensionIndexValues is kept."""
    return _FIRST_DIMENSION + component


def is_dimension(tag: int) -> bool:
    """Whether ``tag`` is one of ``dimension_tag``."""
    return tag >= _FIRST_DIMENSION
