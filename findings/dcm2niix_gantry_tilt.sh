#!/usr/bin/env bash
# dcm2niix 1.0.20260724 and CT with a tilted gantry.
#
# Input: twelve slices of a made-up CT, 4 mm apart along the couch, tilted by 15 degrees about the
# left-right axis. Every voxel holds its place along one patient axis.
# Behaviour: it writes a corrected volume (_Tilt) and exits with 0. The correction is right where
# the slices lean one way and are numbered from feet to head. Numbered the other way, or leaning
# the other way, the same slices come out displaced.
# Seen: +15 up 15.0 mm, +15 down 16.7 mm, -15 up 0.0 mm, -15 down 11.4 mm off (median voxel). The
# sign of GantryDetectorTilt makes no difference. Pixels of 16 unsigned bits are not corrected.
#
# Needs: python3.11 or newer, network. Takes half a minute. Exit status 1 if the behaviour changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet dcm2niix==1.0.20260724 pydicom==3.0.2 nibabel==5.4.2 numpy==2.4.6
cat >"$place/run.py" <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import dcm2niix
import nibabel
import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PLACE, ROWS, COLS, SPACING = Path(sys.argv[1]), 40, 44, (1.0, 1.2)


def write(folder, tilt, upwards, axis, unsigned):
    """Slices whose voxels hold 20 x (place along axis + 100 mm); the first holds 0, as air does."""
    folder.mkdir(parents=True)
    a = np.radians(tilt)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(a), np.sin(a)])
    y, x = np.mgrid[:ROWS, :COLS][..., None]
    for place in range(12):
        first = np.array([-12.0, -14.0, -20.0 + 4 * place])
        where = first + row * SPACING[1] * x + column * SPACING[0] * y
        pixels = np.rint((where[..., axis] + 100) * 20).astype("<u2")
        pixels[0, 0] = 0
        number = place + 1 if upwards else 12 - place
        data = pydicom.Dataset()
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[str(number)])
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.3"
        data.Modality, data.PatientPosition, data.ImageType = "CT", "HFS", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.PatientName, data.PatientID, data.Manufacturer = "phantom", "phantom", "none"
        data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", "1", str(number)
        data.GantryDetectorTilt, data.SliceThickness = str(tilt), "4"
        data.ImagePositionPatient = [f"{v:.6f}" for v in first]
        data.ImageOrientationPatient = [f"{v:.9f}" for v in (*row, *column)]
        data.PixelSpacing, data.Rows, data.Columns = list(SPACING), ROWS, COLS
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = int(not unsigned)
        data.RescaleSlope, data.RescaleIntercept = "1", "0"
        data.PixelData = pixels.tobytes()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def converted(tilt, upwards, unsigned=False):
    """Names of the volumes, and how far the last one's median voxel is from its place, mm."""
    seen = []
    for axis in range(3):
        folder = PLACE / f"{tilt}_{upwards}_{unsigned}_{axis}"
        write(folder / "in", tilt, upwards, axis, unsigned)
        (folder / "out").mkdir()
        command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "v", "-o", folder / "out", folder / "in"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        files = sorted((folder / "out").glob("*.nii"))
        seen.append(nibabel.load(files[-1]))
    places = np.stack([np.asarray(image.dataobj, float) for image in seen], axis=-1) / 20 - 100
    index = np.stack(np.indices(places.shape[:3]), axis=-1)
    put = (index @ seen[0].affine[:3, :3].T + seen[0].affine[:3, 3]) * [-1, -1, 1]
    inside = (places > -25).all(axis=-1)
    return len(files), float(np.median(np.linalg.norm(put - places, axis=-1)[inside]))


EXPECTED = {(15, True): 15.0, (15, False): 16.7, (-15, True): 0.0, (-15, False): 11.4}
for (tilt, upwards), expected in EXPECTED.items():
    count, off = converted(tilt, upwards)
    print(f"tilt {tilt:+d}, numbered {'up' if upwards else 'down'}: {count} volumes, {off:.1f} mm off")
    if count != 2 or abs(off - expected) > 0.1:
        sys.exit(f"this has changed; expected 2 volumes, {expected} mm off")
count, off = converted(-15, True, unsigned=True)
print(f"tilt -15, numbered up, 16 bits unsigned: {count} volume")
if count != 1:
    sys.exit("this has changed; expected the uncorrected volume alone")
PYTHON
"$place/venv/bin/python" "$place/run.py" "$place"
echo "as described"
