#!/usr/bin/env bash
# OpenCV 5.0.0 and Pillow 13.0.0: a grey TIFF of PhotometricInterpretation 0 (WhiteIsZero), which is MONOCHROME1 by another name.
#
# Expected: a reader either always turns it round, so that white is the largest value, or never does.
# Seen: both libraries turn it round in 8 bits and leave it in 16 bits. And OpenCV answers both ways for one file: the 16-bit
# film is as stored by IMREAD_UNCHANGED, and turned round by the default flag. Pillow's convert("L") of the 16-bit film does
# not scale: every value above 255 becomes white.
#
# Why it matters: a digitised film exported in 16 bits arrives with bone black where its 8-bit copy has it white, and a set that
# mixes depths or flags mixes polarities. A chest film through convert("L") is a white rectangle.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  "opencv-python-headless==5.0.0.93" "pillow==13.0.0" "tifffile==2026.3.3" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import sys

import cv2
import numpy as np
import PIL
import tifffile
from PIL import Image

EXPECTED_NOW = {
    ("8 bit", "OpenCV, unchanged"): [255, 192, 128, 0],
    ("8 bit", "OpenCV, default"): [255, 192, 128, 0],
    ("8 bit", "Pillow"): [255, 192, 128, 0],
    ("8 bit", 'Pillow, convert("L")'): [255, 192, 128, 0],
    ("16 bit", "OpenCV, unchanged"): [0, 16191, 32639, 65535],
    ("16 bit", "OpenCV, default"): [255, 192, 128, 0],
    ("16 bit", "Pillow"): [0, 16191, 32639, 65535],
    ("16 bit", 'Pillow, convert("L")'): [0, 255, 255, 255],
}
print("OpenCV", cv2.__version__, "Pillow", PIL.__version__)
seen = {}
grey = np.array([[0, 63, 127, 255]] * 4)
for depth, film in (("8 bit", grey.astype(np.uint8)), ("16 bit", (grey * 257).astype(np.uint16))):
    tifffile.imwrite("film.tif", film, photometric="miniswhite")
    image = Image.open("film.tif")
    print(f"{depth:6}  stored, 0 is white       ", film[0].tolist())
    for name, value in (
        ("OpenCV, unchanged", cv2.imread("film.tif", cv2.IMREAD_UNCHANGED)[0]),
        ("OpenCV, default", cv2.imread("film.tif")[0, :, 0]),
        ("Pillow", np.asarray(image)[0]),
        ('Pillow, convert("L")', np.asarray(image.convert("L"))[0]),
    ):
        seen[depth, name] = value.tolist()
        print(f"{depth:6}  {name:25}", seen[depth, name])
sys.exit(0 if seen == EXPECTED_NOW else "the behaviour has changed")
PY
