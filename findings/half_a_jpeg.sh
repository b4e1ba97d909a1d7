#!/usr/bin/env bash
# Half a film, as a broken transfer leaves it: which decoders tell. imagecodecs 2026.3.6, and behind pydicom 3.0.2 Pillow
# 13.0.0, GDCM 3.2.6, pylibjpeg-libjpeg 2.5.0 and pyjpegls 1.5.1.
#
# Expected: an error, or at least a warning, from each: the code ends in the middle of the scan, without an EOI marker.
# Seen: for JPEG baseline Pillow and GDCM raise; jpeg8_decode and pylibjpeg give a whole film whose lower half they made up
# (jpeg8_decode: one flat grey). For JPEG-LS imagecodecs, GDCM and pyjpegls raise; pylibjpeg gives a whole film again. No
# warning comes with either. pydicom tries its plug-ins in turn and takes the first answer, so where pylibjpeg is installed
# beside the strict ones `pixel_array` gives the half film, too.
#
# Why it matters: a film with an invented lower half is a film to a program. Installing one plug-in more, for another
# format, switches the check off that the others made.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "imagecodecs==2026.3.6" "pydicom==3.0.2" "numpy==2.4.6" \
  "pylibjpeg==2.1.0" "pylibjpeg-libjpeg==2.5.0" "python-gdcm==3.2.6" "pillow==13.0.0" "pyjpegls==1.5.1"
cd "$work"
venv/bin/python - <<'PY'
import sys
import warnings

import imagecodecs
import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGBaseline8Bit, JPEGLSLossless

warnings.simplefilter("error")
BOTH = ("gdcm", "pylibjpeg", "")
y, x = np.mgrid[:256, :256]
noise = np.random.default_rng(1).integers(0, 20, (256, 256))
film = ((np.sin(x / 9) + np.cos(y / 13)) * 40 + 110 + noise).astype(np.uint8)


def by_pydicom(code, uid, plugin):
    about = {"rows": 256, "columns": 256, "number_of_frames": 1, "samples_per_pixel": 1, "bits_allocated": 8, "bits_stored": 8}
    about |= {"photometric_interpretation": "MONOCHROME2", "pixel_representation": 0, "pixel_keyword": "PixelData"}
    return get_decoder(uid).as_array(encapsulate([code]), decoding_plugin=plugin, **about)[0]


print("imagecodecs", imagecodecs.__version__)
seen = {}
for name, code, direct, uid, plugins in (
    ("JPEG", imagecodecs.jpeg8_encode(film, level=90), imagecodecs.jpeg8_decode, JPEGBaseline8Bit, ("pillow", *BOTH)),
    ("JPEG-LS", imagecodecs.jpegls_encode(film), imagecodecs.jpegls_decode, JPEGLSLossless, ("pyjpegls", *BOTH)),
):
    for decoder in ("imagecodecs", *plugins):
        decode = direct if decoder == "imagecodecs" else lambda data: by_pydicom(data, uid, decoder)
        whole = np.abs(decode(code).astype(int) - film).max() < 20
        try:
            rows = (np.abs(decode(code[: len(code) // 2]).astype(int) - film) < 20).all(axis=1)
            told = f"silent, {rows.sum() * 100 // 256} % of the rows right" if rows.sum() < 200 else "silent and right"
        except Exception as exc:
            told = "raised " + type(exc).__name__
        seen[name, decoder] = bool(whole) and told.split(",")[0].split()[0]
        print(f"{name:8} {decoder or 'whatever pydicom takes':22} whole: {'right' if whole else 'wrong'}; half: {told}")
silent = {key for key, told in seen.items() if told == "silent"}
expected = {("JPEG", "imagecodecs"), ("JPEG", "pylibjpeg"), ("JPEG", ""), ("JPEG-LS", "pylibjpeg"), ("JPEG-LS", "")}
sys.exit(0 if silent == expected and all(seen.values()) else "the behaviour has changed")
PY
