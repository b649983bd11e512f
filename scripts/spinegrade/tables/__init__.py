"""The tables that rooms exchange: a module a kind, with its declared columns.

Every table is Parquet. Identifiers are strings, never numbers; a missing grade is null.
Names end in their unit: ``_mm`` (patient coordinates, DICOM LPS: +x to the patient's left,
+y to the back, +z to the head) or ``_px`` (column for x, row for y; an integer is the
centre of a pixel, as DICOM's ImagePositionPatient has it).

A module imports exactly the kinds that it reads or writes, so that a column added to one kind
changes the code fingerprints of their stages alone.
"""
