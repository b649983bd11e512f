#!/usr/bin/env bash
# SimpleITK 2.5.7 and NIfTI files whose axes are not quite at right angles.
#
# Behaviour: 1. Without a qform a file is refused from a shear of 0.0057 degrees on, with "ITK only
# supports orthonormal direction cosines. No orthonormal definition found!".
# 2. With a qform it is opened, placed by the qform alone.
# 3. With ITK_NIFTI_SFORM_PERMISSIVE=1, the way out that is often named, an oblique volume is opened
# turned by twice its obliquity, with or without a qform. A volume whose axes are at right angles
# is not touched by the variable.
# Seen: slices 10 degrees oblique, sheared by 0.1 degrees, come out turned by 19.9 degrees.
#
# Needs: python3.11 or newer, network. Takes half a minute. Exit status 1 if the behaviour changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet simpleitk==2.5.7 nibabel==5.4.2 numpy==2.4.6
cat >"$place/run.py" <<'PYTHON'
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np

READ = """
import sys, numpy, SimpleITK
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
try:
    image = SimpleITK.ReadImage(sys.argv[1])
except RuntimeError as error:
    sys.exit(str(error).splitlines()[-1])
print(*image.GetDirection())
"""


def sheared(tilt, shear):
    """Axial slices turned about x by tilt, each shifted along its columns by shear; degrees."""
    a, b = np.radians([tilt, shear])
    rows, columns, normal = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([rows, columns, normal * np.cos(b) + columns * np.sin(b)], 1) * [0.6, 0.6, 4]
    return affine


def read(affine, qform, **environment):
    """The directions (3, 3) that SimpleITK reads, or its words."""
    image = nibabel.Nifti1Image(np.zeros((32, 32, 20), np.int16), None)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine if qform else None, code="scanner" if qform else "unknown")
    path = Path(sys.argv[1]) / "volume.nii"
    nibabel.save(image, path)
    kept = {k: v for k, v in os.environ.items() if k != "ITK_NIFTI_SFORM_PERMISSIVE"}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], env=kept | environment, capture_output=True, text=True
    )
    if done.returncode:
        return done.stderr.strip()
    return np.array(done.stdout.split(), float).reshape(3, 3)


def turned(directions, affine):
    """Degrees between the directions read and those written; ITK's x and y are the other way."""
    left, _, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    apart = np.diag([-1, -1, 1]) @ directions @ (left @ right).T
    return float(np.degrees(np.arccos(np.clip((np.trace(apart) - 1) / 2, -1, 1))))


def check(what, found, expected):
    print(f"{what}: {found}")
    if found != expected:
        sys.exit(f"this has changed; expected {expected}")


oblique = sheared(10, 0.1)
for shear, expected in ((0.0, True), (0.005, True), (0.006, False), (0.1, False)):
    opened = not isinstance(read(sheared(0, shear), qform=False), str)
    check(f"shear of {shear} degrees, no qform, is opened", opened, expected)
words = read(oblique, qform=False)
check("its words", words, "ITK ERROR: ITK only supports orthonormal direction cosines.  No orthonormal definition found!")
check("oblique by 10, sheared by 0.1, with a qform: turned by", round(turned(read(oblique, True), oblique), 1), 0.0)
permissive = {"ITK_NIFTI_SFORM_PERMISSIVE": "1"}
for qform in (False, True):
    found = turned(read(oblique, qform, **permissive), oblique)
    check(f"the same, permissive, qform {qform}: turned by", round(found), 20)
straight = sheared(10, 0)
check("not sheared, permissive: turned by", round(turned(read(straight, True, **permissive), straight), 1), 0.0)
PYTHON
"$place/venv/bin/python" "$place/run.py" "$place"
echo "as described"
