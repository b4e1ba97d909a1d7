#!/usr/bin/env bash
# imageio 2.38.1: `imageio.v3.imread` of one DICOM file with others around it.
#
# The reference of `imread` promises the image at the path that it is given.
#
# Expected: the picture in that file, as imageio.v2 gives it.
# Seen: the picture of whichever series in that folder, or in any folder below it, has the first Series Instance UID, even if it is
# another patient's. No error and no warning; the only sign is a line of progress that counts the files looked at. `index=0` does
# the same, and so does v2's `volread`. `immeta`, which could tell whose film it is, raises ValueError. A film in a folder by itself
# is read as it is. And as each call opens every file below the folder, one film takes as long as the archive is large.
#
# Why it matters: v3 is the interface that imageio asks people to move to. A folder of radiographs then yields one film again and
# again, under the names of all the others; and a script that was right with one film in the folder is wrong with two.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "imageio==2.38.1" "pydicom==3.0.2" "numpy==2.4.6" \
  "pillow==13.0.0"
cd "$work"
venv/bin/python - <<'PY'
import contextlib
import io
import sys
from pathlib import Path

import imageio
import imageio.v2
import imageio.v3
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation as DX, ExplicitVRLittleEndian

FILMS = {"films/one.dcm": 1, "films/two.dcm": 2, "films/below/three.dcm": 3, "alone/four.dcm": 4}
for name, value in FILMS.items():
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality, ds.PatientID = DX, f"2.25.3{value}", "DX", f"PHANTOM {value}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = f"2.25.1{value}", f"2.25.2{value}", 1
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 2, 3, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = np.full((2, 3), value, "<u2").tobytes()
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(name, enforce_file_format=True)

READERS = {
    "v3.imread": imageio.v3.imread,
    "v3.imread index=0": lambda path: imageio.v3.imread(path, index=0),
    "v2.volread": imageio.v2.volread,
    "v2.imread": imageio.v2.imread,
}
print("imageio", imageio.__version__)
seen = {}
for label, reader in READERS.items():
    for name in FILMS:
        with contextlib.redirect_stdout(io.StringIO()):
            seen.setdefault(label, []).append(np.unique(reader(name)).tolist())
    print(f"{label:18} of films 1, 2, 3 (in a folder below) and 4 (in one of its own) gives film {seen[label]}")
try:
    meta = str(imageio.v3.immeta("films/two.dcm"))
except ValueError as exc:
    meta = f"ValueError: {exc}"
print("v3.immeta         ", meta)
same = seen.pop("v2.imread") == [[1], [2], [3], [4]] and meta.startswith("ValueError")
sys.exit(0 if same and all(films == [[1], [1], [3], [4]] for films in seen.values()) else "the behaviour has changed")
PY
