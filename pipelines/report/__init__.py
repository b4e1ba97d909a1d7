"""Decisions made into DICOM objects."""
