#!/usr/bin/env bash
# SimpleITK 2.5.7: writing a film back as DICOM that SimpleITK has just read.
#
# The reader applies Rescale Slope and Intercept, gives 16-bit whole numbers, and keeps the two beside them as metadata.
#
# Expected: the writer undoes the rescale, or stores the values with slope 1 and intercept 0; or it says what is wrong.
# Seen: unless they are 1 and 0, RuntimeError: "DICOM does not support this component type", of an image of 16-bit signed (or, with
# a slope of 2, unsigned) whole numbers, which DICOM supports well. It is the two metadata and not the pixels: once they are erased
# the image is written as it is, and so is a film without them, or with 1 and 0.
#
# Why it matters: the message sends one to look at the pixels, and a cast seems to mend it, because it drops all the metadata: the
# patient and the study with them. A program that crops films and carries their tags over works on every detector but those that
# write an intercept.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "simpleitk==2.5.7" "pydicom==3.0.2" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import sys

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation as DX, ExplicitVRLittleEndian

STORED = np.array([[0, 1000, 3000, 4095]] * 2, "<u2")
RESCALE = ("0028|1052", "0028|1053")


def film(slope, intercept):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID, ds.Modality = DX, "2.25.3", "PHANTOM", "DX"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2"
    ds.Rows, ds.Columns = STORED.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    if slope:
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, intercept, "US"
    ds.PixelData = STORED.tobytes()
    ds.save_as("film.dcm", enforce_file_format=True)
    return sitk.ReadImage("film.dcm")


def written(image):
    try:
        sitk.WriteImage(image, "again.dcm")
    except RuntimeError as exc:
        return str(exc).strip().splitlines()[-1].split("): ")[-1]
    return sitk.GetArrayFromImage(sitk.ReadImage("again.dcm")).squeeze()[0].tolist()


print("SimpleITK", sitk.Version.VersionString())
seen = {}
for slope, intercept in ((None, None), ("1", "0"), ("1", "-1000"), ("1", "10"), ("2", "0")):
    image = film(slope, intercept)
    read = sitk.GetArrayFromImage(image).squeeze()[0].tolist()
    kept = written(image)
    median = sitk.Median(image, [0, 0, 0])
    for key in image.GetMetaDataKeys():
        median.SetMetaData(key, image.GetMetaData(key))
    carried = written(median)
    for key in RESCALE:
        image.EraseMetaData(key)
    seen[slope, intercept] = kept, carried, written(image) == read
    print(f"slope {slope}, intercept {intercept}: {image.GetPixelIDTypeAsString()} {read}, written with its metadata: {kept}")
    print(f"    filtered, with the metadata carried over: {carried}")
    print(f"    without the two: {'the same values' if seen[slope, intercept][2] else 'others'}")
WORDS = "DICOM does not support this component type"
fine = [key for key, (kept, carried, _) in seen.items() if kept == carried == STORED[0].tolist()]
refused = [key for key, (kept, carried, _) in seen.items() if kept == carried == WORDS]
same = fine == [(None, None), ("1", "0")] and len(refused) == 3 and all(erased for _, _, erased in seen.values())
sys.exit(0 if same else "the behaviour has changed")
PY
