#!/usr/bin/env bash
# dicom2nifti 2.6.2 with resampling, and the first and last slice of CT with a tilted gantry.
#
# Input: eight slices of a made-up CT, 4 mm apart along the couch, tilted by 15 degrees. All
# voxels hold 1000. Settings as its README says for tilted gantries.
# Behaviour: the last slice of the resampled volume is blank, and the first one is too or is not,
# depending on nothing but where the couch stands. No error, no word.
# Seen: first slice at z = -20 mm: first and last slice blank. At z = +10 mm: the last alone.
#
# Needs: python3.11 or newer, network. Takes half a minute. Exit status 1 if the behaviour changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet dicom2nifti==2.6.2 pydicom==3.0.2 nibabel==5.4.2 numpy==2.4.6 scipy==1.17.1
cat >"$place/run.py" <<'PYTHON'
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from dicom2nifti import convert_directory, settings
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

PLACE, SLICES, ROWS, COLS = Path(sys.argv[1]), 8, 20, 24
settings.disable_validate_orthogonal()
settings.enable_resampling()
settings.set_resample_spline_interpolation_order(1)
settings.set_resample_padding(0)


def write(folder, lowest):
    """Slices 4 mm apart from z = lowest on, tilted about the left-right axis."""
    folder.mkdir(parents=True)
    a = np.radians(15)
    for place in range(SLICES):
        data = pydicom.Dataset()
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"1.2.4.{place + 1}"
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.3"
        data.Modality, data.PatientPosition, data.ImageType = "CT", "HFS", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.PatientName, data.PatientID, data.Manufacturer = "phantom", "phantom", "none"
        data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", "1", str(place + 1)
        data.GantryDetectorTilt, data.SliceThickness = "15", "4"
        data.ImagePositionPatient = ["-12", "-14", f"{lowest + 4 * place:g}"]
        data.ImageOrientationPatient = ["1", "0", "0", "0", f"{np.cos(a):.9f}", f"{np.sin(a):.9f}"]
        data.PixelSpacing, data.Rows, data.Columns = [1.0, 1.2], ROWS, COLS
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = "1", "0"
        data.PixelData = np.full((ROWS, COLS), 1000, "<i2").tobytes()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(folder / f"{place + 1}.dcm", enforce_file_format=True)


for lowest, expected in ((-20, [0, SLICES - 1]), (10, [SLICES - 1])):
    folder = PLACE / f"at_{lowest}"
    write(folder / "in", lowest)
    (folder / "out").mkdir()
    convert_directory(str(folder / "in"), str(folder / "out"), compression=False, reorient=False)
    (file,) = (folder / "out").glob("*.nii")
    filled = (np.asarray(nibabel.load(file).dataobj) != 0).any(axis=(0, 1))
    blank = np.flatnonzero(~filled).tolist()
    print(f"first slice at z = {lowest:+d} mm: {len(filled)} slices, blank: {blank}")
    if blank != expected:
        sys.exit(f"this has changed; expected {expected}")
PYTHON
"$place/venv/bin/python" "$place/run.py" "$place"
echo "as described"
