"""The DICOM elements that conversion looks at; every other one is passed over unread."""

from __future__ import annotations

IMAGE_TYPE = 0x00080008
STUDY_UID = 0x0020000D
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
REPRESENTATION = 0x00280103
RESCALE_INTERCEPT = 0x00281052
RESCALE_SLOPE = 0x00281053
SHARED_GROUPS = 0x52009229
PER_FRAME_GROUPS = 0x52009230
PIXEL_DATA = 0x7FE00010

# Tags that tell volumes at the same positions apart (time points, echoes, diffusion
# weightings), the most telling first.
VOLUME_TAGS = {
    0x00180081: "EchoTime",
    0x00180086: "EchoNumbers",
    0x00200100: "TemporalPositionIdentifier",
    0x00209128: "TemporalPositionIndex",
    0x00189087: "DiffusionBValue",
    0x00189089: "DiffusionGradientOrientation",
    # What MR scanners wrote before the standard had a place for diffusion weighting.
    0x00431039: "GE b-value",
    0x001910BB: "GE gradient x",
    0x001910BC: "GE gradient y",
    0x001910BD: "GE gradient z",
    0x0019100C: "Siemens b-value",
    0x0019100E: "Siemens gradient",
    0x20011003: "Philips b-value",
    0x20011004: "Philips gradient",
    0x00180082: "InversionTime",
    0x00181314: "FlipAngle",
    0x00181060: "TriggerTime",
    0x00080008: "ImageType",
    0x00200012: "AcquisitionNumber",
    0x00080032: "AcquisitionTime",
    0x0020000E: "SeriesInstanceUID",
}
