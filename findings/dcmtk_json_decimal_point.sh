#!/usr/bin/env bash
# DCMTK 3.6.7, dcm2json: a decimal string that ends with its point.
#
# PS3.5 6.2 lets a DS be "1800." or "1.e3": digits, a point, and no more. JSON (RFC 8259, section 6) wants a digit behind the
# point. PS3.18 F.2.3 writes DS as a number or as a string.
#
# Expected: dcm2json writes 1800, 1800.0 or "1800.", as it already turns ".5" into 0.5 and "+12" into 12.
# Seen: it writes 1800. as it stands, and ends with 0. No JSON parser takes the file (Python, Node.js): not one value of the film
# is lost but all of them. pydicom 3.0.2 writes 1800.0 for the same film. "1.e3" goes wrong in the same way.
#
# Why it matters: firmware that prints its numbers with C's "%#g", or with Fortran, writes DS like this, and each film of such a
# detector then falls out of whatever reads the JSON, with an error that names a column and not a tag.
set -euo pipefail
command -v dcm2json >/dev/null || { echo "needs dcm2json (package dcmtk)"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pydicom==3.0.2"
cd "$work"
dcm2json --version | sed -n 1p
venv/bin/python - <<'PY'
import json
import subprocess
import sys

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation as DX, ExplicitVRLittleEndian

seen = {}
for text in ("1800", "1800.0", ".5", "+12", "007", "1800.", "1.e3"):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = DX, "2.25.1"
    ds.DistanceSourceToDetector = text
    ds.save_as("film.dcm", enforce_file_format=True)
    ended = subprocess.run(["dcm2json", "-fc", "film.dcm"], capture_output=True, text=True, timeout=60)
    written = ended.stdout.split('"00181110":')[1].split('"Value":[')[1].split("]")[0].strip()
    try:
        seen[text] = ended.returncode, json.loads(ended.stdout)["00181110"]["Value"][0]
    except json.JSONDecodeError as exc:
        seen[text] = ended.returncode, type(exc).__name__
    back = json.loads(pydicom.dcmread("film.dcm").to_json())["00181110"]["Value"][0]
    print(f"DS {text!r:9} dcm2json writes {written:7} exit code {seen[text][0]}, read again {seen[text][1]}; pydicom {back}")
broken = [text for text, (code, value) in seen.items() if code == 0 and value == "JSONDecodeError"]
right = all(seen[text] == (0, float(text)) for text in seen if text not in broken)
sys.exit(0 if broken == ["1800.", "1.e3"] and right else "the behaviour has changed")
PY
