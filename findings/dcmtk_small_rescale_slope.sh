#!/usr/bin/env bash
# DCMTK 3.6.7, dcm2pnm: a film with a small Rescale Slope (0028,1053).
#
# PS3.3 C.11.1 makes the value that is shown from slope * stored + intercept. Both are decimal strings: the slope may be 0.001.
#
# Expected: the window of that size is scaled with it, so the picture is the same for a slope of 1 and of 0.001.
# Seen: dcm2pnm keeps the rescaled values as whole numbers. Of 4096 stored values 41 greys are left with a slope of 0.01, and five
# with 0.001, with the window of the file as with that from the smallest to the greatest value. It ends with 0 and warns of
# nothing. With --no-modality no grey is lost, but the window fits no longer. pydicom 3.0.2 has all greys for each slope.
#
# Why it matters: films whose values mean something (optical density from 0 to 4, a dose in mGy) are written so. In the picture
# that DCMTK makes the lung has three steps, and it looks like a bad compression or a broken detector.
set -euo pipefail
command -v dcm2pnm >/dev/null || { echo "needs dcm2pnm (package dcmtk)"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pydicom==3.0.2" "numpy==2.4.6" "pillow==13.0.0"
cd "$work"
dcm2pnm --version | sed -n 1p
venv/bin/python - <<'PY'
import subprocess
import sys

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ComputedRadiographyImageStorage as CR, ExplicitVRLittleEndian

WAYS = {"its window": ["+Wi", "1"], "smallest to greatest": ["+Wm"], "no rescale": ["-M", "+Wm"]}
seen, quiet = {}, True
for slope in ("1", "0.01", "0.001"):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID, ds.Modality = CR, "2.25.3", "PHANTOM", "CR"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 64, 64, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, "0", "US"
    ds.WindowCenter = ds.WindowWidth = f"{float(slope) * 2048:.10g}"
    ds.VOILUTFunction = "SIGMOID"
    ds.PixelData = np.arange(4096, dtype="<u2").tobytes()
    ds.save_as("film.dcm", enforce_file_format=True)
    shown = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds) / (4095 * float(slope))
    greys = {"pydicom": len(np.unique(np.round(shown * 255)))}
    for way, options in WAYS.items():
        ended = subprocess.run(["dcm2pnm", *options, "+on", "film.dcm", "film.png"], capture_output=True, text=True, timeout=60)
        ended.check_returncode()
        quiet = quiet and not ended.stderr
        greys[way] = len(np.unique(np.asarray(Image.open("film.png").convert("L"))))
    seen[slope] = greys
    print(f"slope {slope:6} window width {ds.WindowWidth}: greys {greys}")
print("a warning:", not quiet)
few = [[greys[way] for way in ("its window", "smallest to greatest")] for slope, greys in seen.items() if slope != "1"]
many = all(greys["pydicom"] > 190 and greys["no rescale"] > 190 for greys in seen.values()) and seen["1"]["its window"] > 190
sys.exit(0 if few == [[41, 41], [5, 5]] and many and quiet else "the behaviour has changed")
PY
