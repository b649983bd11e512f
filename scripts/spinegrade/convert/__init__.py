"""The convert room: folders of DICOM files to volumes with a patient-space affine."""
