#!/usr/bin/env bash
# SimpleITK 2.5.7: the pixel spacing of a radiograph.
#
# PS3.3 10.7.1: Imager Pixel Spacing (0018,1164) is measured at the detector. Pixel Spacing (0028,0030) is measured in the
# patient where the film was calibrated, and it is the one to measure with when both are there.
#
# Expected: GetSpacing() gives Pixel Spacing where the film has it, and Imager Pixel Spacing otherwise.
# Seen: for CR and DX it gives Imager Pixel Spacing always. A calibrated Pixel Spacing beside it is not used, and a film that
# has Pixel Spacing alone gets 1 mm, without a warning. Secondary Capture with Pixel Spacing alone is right.
#
# Why it matters: a heart or a leg length measured on the image is wrong by the factor of the calibration, and by a factor of
# five to ten where 1 mm was put in. Nothing tells that the 1 mm is invented.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "simpleitk==2.5.7" "pydicom==3.0.2" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import sys

import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage as CR, DigitalXRayImageStorageForPresentation as DX
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage as SC, generate_uid


def spacing(sop_class, **attributes):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality = {CR: "CR", DX: "DX", SC: "OT"}[sop_class]
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.add_new("PixelData", "OW", bytes(32))
    for name, value in attributes.items():
        setattr(ds, name, value)
    ds.save_as("film.dcm", enforce_file_format=True)
    return sitk.ReadImage("film.dcm").GetSpacing()[:2]


print("SimpleITK", sitk.Version.VersionString())
imager = {"ImagerPixelSpacing": [0.2, 0.2]}
calibrated = {"PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL", "PixelSpacingCalibrationDescription": "ball"}
changed = False
for name, sop_class, attributes, seen in (
    ("CR, detector 0.2 mm alone", CR, imager, (0.2, 0.2)),
    ("CR, detector 0.2 mm, calibrated 0.1 mm", CR, imager | calibrated, (0.2, 0.2)),
    ("DX, detector 0.2 mm, calibrated 0.1 mm", DX, imager | calibrated, (0.2, 0.2)),
    ("CR, calibrated 0.1 mm alone", CR, calibrated, (1.0, 1.0)),
    ("SC, calibrated 0.1 mm alone", SC, calibrated, (0.1, 0.1)),
):
    value = spacing(sop_class, **attributes)
    print(f"{name:40} -> {value}")
    changed |= value != seen
sys.exit("the behaviour has changed" if changed else 0)
PY
