#!/usr/bin/env bash
# dcmjs-imaging 0.2.5: a film whose window has VOI LUT Function (0028,1056) LINEAR_EXACT.
#
# PS3.3 C.11.2.1.3.2: grey runs from center - width / 2 to center + width / 2; it is a half of all greys at the center.
#
# Expected: the picture of LINEAR but for one grey at most, as the two differ by half a stored value.
# Seen: the window lies half a width too high. It begins at the center, where it should be at half already, and the upper half of
# the window reaches beyond white. LINEAR and SIGMOID are right. Orthanc, pydicom 3.0.2 and dcm2pnm of DCMTK are right for all.
#
# Why it matters: LINEAR_EXACT is what stands in films whose maker thought about half values. Rendered in the browser or behind
# Node.js they come out dark: half of the contrast that the window asks for is black.
set -euo pipefail
command -v npm >/dev/null || { echo "needs npm and node"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pydicom==3.0.2" "numpy==2.4.6"
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts "dcmjs-imaging@0.2.5" "dcmjs@0.50.3" >/dev/null
cat >render.mjs <<'JS'
import fs from "node:fs";
import imaging from "dcmjs-imaging";

for (const path of process.argv.slice(2)) {
  const file = fs.readFileSync(path);
  const film = new imaging.DicomImage(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
  const pixels = new Uint8Array(film.render().pixels);
  console.log(Array.from(pixels).filter((_, at) => at % 4 === 0).join(" "));
}
JS
venv/bin/python - <<'PY'
import subprocess
import sys

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_voi_lut
from pydicom.uid import DigitalXRayImageStorageForPresentation as DX, ExplicitVRLittleEndian

FUNCTIONS = ("LINEAR", "SIGMOID", "LINEAR_EXACT")
expected = {}
for function in FUNCTIONS:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID, ds.Modality = DX, "2.25.3", "PHANTOM", "DX"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 4, 4, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = "2048", "2048", function
    ds.PixelData = np.linspace(0, 4095, 16).astype("<u2").tobytes()
    ds.save_as(f"{function}.dcm", enforce_file_format=True)
    expected[function] = np.round(apply_voi_lut(ds.pixel_array, ds) / 4095 * 255).ravel().astype(int)
films = [f"{function}.dcm" for function in FUNCTIONS]
lines = subprocess.run(["node", "render.mjs", *films], capture_output=True, text=True, check=True, timeout=120).stdout
seen = {f: np.array(line.split(), int) for f, line in zip(FUNCTIONS, lines.strip().splitlines()[-3:], strict=True)}
for function in FUNCTIONS:
    print(f"{function:12} pydicom      ", expected[function].tolist())
    print(f"{'':12} dcmjs-imaging", seen[function].tolist())
right = [f for f in FUNCTIONS if np.abs(seen[f] - expected[f]).max() <= 2]
shifted = np.abs(seen["LINEAR_EXACT"] - np.clip(expected["LINEAR_EXACT"] - 127.5, 0, 255))[:11].max() <= 2
sys.exit(0 if right == ["LINEAR", "SIGMOID"] and shifted else "the behaviour has changed")
PY
