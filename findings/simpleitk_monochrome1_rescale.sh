#!/usr/bin/env bash
# SimpleITK 2.5.7: a MONOCHROME1 film with Rescale Slope and Intercept.
#
# PS3.3 C.11.1 applies the rescale to the stored values. Photometric Interpretation concerns the display, after all of that.
#
# Expected: the rescaled values that pydicom gives too; or, if the film is turned round for the user, the
# metadata beside it say MONOCHROME2 from then on.
# Seen: the film is turned round within Bits Stored and then rescaled. A stored 0 reads 3095 and a stored 4095 reads -1000, where
# pydicom says -1000 and 3095. The metadata beside the pixels still say MONOCHROME1.
# The same film in signed 12 bits cannot be read: RuntimeError, out of GDCM.
#
# Why it matters: who reads half of the films with pydicom and half with SimpleITK trains on two polarities. Who turns MONOCHROME1
# round, as the metadata ask, is right behind pydicom and has a negative behind SimpleITK. And the values of a film whose Rescale
# Type means something are not those values any more.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "simpleitk==2.5.7" "pydicom==3.0.2" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import sys

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid


def write(path, stored):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "CR"
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME1"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", "-1000", "US"
    ds.add_new("PixelData", "OW", stored.tobytes())
    ds.save_as(path, enforce_file_format=True)


stored = np.array([[0, 1000, 3000, 4095]] * 2, np.uint16)
write("film.dcm", stored)
ds = pydicom.dcmread("film.dcm")
image = sitk.ReadImage("film.dcm")
by_pydicom = apply_modality_lut(ds.pixel_array, ds)[0].astype(int).tolist()
by_sitk = sitk.GetArrayFromImage(image).squeeze()[0].tolist()
photometric = image.GetMetaData("0028|0004").strip()
write("signed.dcm", (stored.astype(np.int16) - 2048))
try:
    signed = sitk.GetArrayFromImage(sitk.ReadImage("signed.dcm")).squeeze()[0].tolist()
except RuntimeError as exc:
    signed = "RuntimeError: " + str(exc).strip().splitlines()[-1]

print("SimpleITK", sitk.Version.VersionString(), "pydicom", pydicom.__version__)
print("stored             ", stored[0].tolist())
print("pydicom, rescaled  ", by_pydicom)
print("SimpleITK          ", by_sitk, "metadata says", photometric)
print("SimpleITK, signed  ", signed)
same = (by_pydicom == [-1000, 0, 2000, 3095] and by_sitk == [3095, 2095, 95, -1000]
        and photometric == "MONOCHROME1" and "RuntimeError" in signed)
sys.exit(0 if same else "the behaviour has changed")
PY
