#!/usr/bin/env bash
# Orthanc 1.10.1, /instances/ID/rendered: a film whose window has VOI LUT Function (0028,1056) SIGMOID.
#
# PS3.3 C.11.2.1.3: the function that turns the window into grey is LINEAR unless VOI LUT Function says SIGMOID or LINEAR_EXACT.
# With SIGMOID the shoulders are soft: half of the width away from the center there is still contrast.
#
# Expected: /rendered, which applies the window, gives the sigmoid curve, as pydicom 3.0.2 and dcm2pnm of DCMTK 3.6.7 do.
# Seen: Orthanc gives the picture of LINEAR, byte for byte. What lies outside of the window is plain black or white, where the
# neighbours still have 16 of 255 greys in the shadows, and 238 in place of 255 in the lights.
#
# Why it matters: detectors ship radiographs with SIGMOID so that bone and the lung behind the heart are seen at once. In the
# preview of the archive, and in what is made of it, they are burnt out, and the film looks badly exposed.
set -euo pipefail
command -v Orthanc dcm2pnm >/dev/null || { echo "needs Orthanc and dcm2pnm (packages orthanc, dcmtk)"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pydicom==3.0.2" "numpy==2.4.6" \
  "pillow==13.0.0" "requests==2.34.2"
cd "$work"
Orthanc --version | sed -n 1p
dcm2pnm --version | sed -n 1p
venv/bin/python - <<'PY'
import io
import json
import socket
import subprocess
import sys
import time

import numpy as np
import requests
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_voi_lut
from pydicom.uid import DigitalXRayImageStorageForPresentation as DX, ExplicitVRLittleEndian


def film(function):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID, ds.Modality = DX, f"2.25.{len(function)}", "PHANTOM", "DX"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 4, 4, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = "2048", "1024", function
    ds.PixelData = np.linspace(0, 4095, 16).astype("<u2").tobytes()
    ds.save_as("film.dcm", enforce_file_format=True)
    return ds


def greys(picture):
    return np.asarray(Image.open(picture).convert("L")).ravel().astype(int)


with socket.socket() as http:
    http.bind(("127.0.0.1", 0))
    port = http.getsockname()[1]
settings = {"StorageDirectory": "db", "IndexDirectory": "db", "HttpPort": port, "DicomServerEnabled": False, "Plugins": []}
with open("orthanc.json", "w") as file:
    json.dump(settings | {"AuthenticationEnabled": False}, file)
orthanc = subprocess.Popen(["Orthanc", "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
url, seen = f"http://127.0.0.1:{port}", {}
try:
    for _ in range(300):
        try:
            requests.get(url + "/system", timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.1)
    for function in ("LINEAR", "SIGMOID"):
        ds = film(function)
        with open("film.dcm", "rb") as file:
            one = requests.post(url + "/instances", data=file.read(), timeout=30).json()["ID"]
        seen["Orthanc", function] = greys(io.BytesIO(requests.get(f"{url}/instances/{one}/rendered", timeout=30).content))
        subprocess.run(["dcm2pnm", "+Wi", "1", "+on", "film.dcm", "film.png"], check=True)
        seen["dcm2pnm", function] = greys("film.png")
        seen["pydicom", function] = np.round(apply_voi_lut(ds.pixel_array, ds) / 4095 * 255).ravel().astype(int)
finally:
    orthanc.terminate()
    orthanc.wait(60)
for (name, function), values in seen.items():
    print(f"{name:8} {function:8}", values.tolist())
alike = all(np.abs(seen[name, f] - seen["pydicom", f]).max() <= 2 for name, f in seen if (name, f) != ("Orthanc", "SIGMOID"))
unmoved = np.array_equal(seen["Orthanc", "LINEAR"], seen["Orthanc", "SIGMOID"])
sys.exit(0 if alike and unmoved else "the behaviour has changed")
PY
