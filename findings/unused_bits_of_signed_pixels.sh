#!/usr/bin/env bash
# imageio 2.38.1, daikon 1.2.46 and Orthanc 1.10.1: 12 signed bits in cells of 16, with zeros in the four bits above.
#
# PS3.3 C.7.6.3.1 and PS3.5 8.1.1: the sign bit is High Bit (11 here), and what lies above it is no part of the value. So -1 may be
# stored as FFFFH or as 0FFFH. Both are met.
#
# Expected: the same picture from both.
# Seen: in imageio and daikon (JavaScript) the dark half of the second film becomes the brightest of all (-1 reads 4095), because
# the cell is taken as 16 signed bits. Orthanc shows it so too: in /preview the grey wedge runs 128 to 255 and then 0 to 127, and
# /image-int16 has 4095. pydicom 3.0.2, SimpleITK 2.5.7, and dcm2pnm of DCMTK give the same picture for both films.
#
# Why it matters: such a film looks like one with a foreign body or a burnt out detector, and it is right in the program next to
# it. Every library here is tested with signed films; those of CT scanners fill the upper bits with the sign.
set -euo pipefail
command -v npm >/dev/null || { echo "needs npm and node"; exit 2; }
command -v Orthanc dcm2pnm >/dev/null || { echo "needs Orthanc and dcm2pnm (packages orthanc, dcmtk)"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "imageio==2.38.1" "pydicom==3.0.2" "numpy==2.4.6" \
  "pillow==13.0.0" "simpleitk==2.5.7" "requests==2.34.2"
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts "daikon@1.2.46" >/dev/null
Orthanc --version | sed -n 1p
dcm2pnm --version | sed -n 1p
cat >read.mjs <<'JS'
import fs from "node:fs";
import daikon from "daikon";

const file = fs.readFileSync(process.argv[2]);
const film = daikon.Series.parseImage(new DataView(file.buffer.slice(file.byteOffset, file.byteOffset + file.length)));
console.log(JSON.stringify(Array.from(film.getInterpretedData())));
JS
venv/bin/python - <<'PY'
import io
import json
import socket
import subprocess
import sys
import time

import imageio.v2
import numpy as np
import requests
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation as DX, ExplicitVRLittleEndian

VALUES = np.array([-2048, -1024, -1, 0, 1, 1024, 1536, 2047])


def film(name, cells):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID, ds.Modality = DX, f"2.25.3{len(name)}", "PHANTOM", "DX"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 2, 4, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
    ds.PixelData = cells.astype("<u2").tobytes()
    ds.save_as(name, enforce_file_format=True)
    return ds


def picture(content):
    return np.asarray(Image.open(content)).ravel().tolist()


def readers(name, ds, url):
    with open(name, "rb") as file:
        one = requests.post(url + "/instances", data=file.read(), timeout=30).json()["ID"]
    subprocess.run(["dcm2pnm", "+Wm", "+on", name, "film.png"], check=True)
    node = subprocess.run(["node", "read.mjs", name], capture_output=True, text=True, check=True, timeout=60).stdout
    int16 = requests.get(f"{url}/instances/{one}/image-int16", timeout=30).content
    return {
        "pydicom": ds.pixel_array.ravel().tolist(),
        "SimpleITK": sitk.GetArrayFromImage(sitk.ReadImage(name)).ravel().tolist(),
        "imageio": np.asarray(imageio.v2.imread(name)).ravel().tolist(),
        "daikon": json.loads(node.strip().splitlines()[-1]),
        "Orthanc int16": np.array(picture(io.BytesIO(int16)), np.uint16).view(np.int16).tolist(),
        "dcm2pnm greys": picture("film.png"),
        "Orthanc preview": picture(io.BytesIO(requests.get(f"{url}/instances/{one}/preview", timeout=30).content)),
    }


with socket.socket() as http:
    http.bind(("127.0.0.1", 0))
    port = http.getsockname()[1]
settings = {"StorageDirectory": "db", "IndexDirectory": "db", "HttpPort": port, "DicomServerEnabled": False, "Plugins": []}
with open("orthanc.json", "w") as file:
    json.dump(settings | {"AuthenticationEnabled": False}, file)
orthanc = subprocess.Popen(["Orthanc", "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
url = f"http://127.0.0.1:{port}"
try:
    for _ in range(300):
        try:
            requests.get(url + "/system", timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.1)
    signs = readers("signs.dcm", film("signs.dcm", VALUES & 0xFFFF), url)
    zeros = readers("zeros_above.dcm", film("zeros_above.dcm", VALUES & 0x0FFF), url)
finally:
    orthanc.terminate()
    orthanc.wait(60)
for name in signs:
    print(f"{name:15} signs above {signs[name]}")
    print(f"{'':15} zeros above {zeros[name]}")
wrong = {name for name in signs if signs[name] != zeros[name]}
first = all(signs[name] == VALUES.tolist() for name in ("pydicom", "SimpleITK", "imageio", "daikon", "Orthanc int16"))
same = first and wrong == {"imageio", "daikon", "Orthanc int16", "Orthanc preview"} and zeros["daikon"][:3] == [2048, 3072, 4095]
sys.exit(0 if same else "the behaviour has changed")
PY
