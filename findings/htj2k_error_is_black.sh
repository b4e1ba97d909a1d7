#!/usr/bin/env bash
# imagecodecs 2026.3.6, htj2k_decode (OpenJPH): HTJ2K code with a damaged block, as a broken disk or transfer leaves it.
#
# HTJ2K (ITU-T T.814) is a transfer syntax of DICOM (Supplement 235). Not every damage can be told; this one its decoders tell.
#
# Expected: an error, as jpeg2k_decode of the same package (OpenJPEG) and pylibjpeg-openjpeg 2.6.0 behind pydicom raise one.
# Seen: OpenJPH does raise "ojph error", but inside of a function of imagecodecs that cannot pass an exception on. Python
# prints "Exception ignored in" on stderr, and the caller gets a picture of the right size that is 0 everywhere. No warning,
# nothing to catch.
#
# Why it matters: the film of a broken file is black (white for MONOCHROME1) and looks decoded; `except` around the decoder is
# no help. Only its own look at the values, or sys.unraisablehook, tells.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "imagecodecs==2026.3.6" "pydicom==3.0.2" "numpy==2.4.6" \
  "pylibjpeg==2.1.0" "pylibjpeg-openjpeg==2.6.0"
cd "$work"
venv/bin/python - <<'PY'
import sys

import imagecodecs
import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import HTJ2KLossless

unraisable = []
sys.unraisablehook = lambda about: unraisable.append(str(about.exc_value))
noise = np.random.default_rng(1).integers(0, 320, (256, 256))
y, x = np.mgrid[:256, :256]
film = ((np.sin(x / 9) + np.cos(y / 13)) * 640 + 1920 + noise).astype(np.uint16)
code = imagecodecs.htj2k_encode(film)
damaged = bytearray(code)
damaged[len(code) // 2 : len(code) * 5 // 8] = bytes(len(code) * 5 // 8 - len(code) // 2)


def by_pydicom(data):
    about = {"rows": 256, "columns": 256, "number_of_frames": 1, "samples_per_pixel": 1}
    about |= {"photometric_interpretation": "MONOCHROME2", "bits_allocated": 16, "bits_stored": 16, "pixel_representation": 0}
    return get_decoder(HTJ2KLossless).as_array(encapsulate([data]), pixel_keyword="PixelData", **about)[0]


print("imagecodecs", imagecodecs.__version__)
seen = []
for name, decode in (
    ("htj2k_decode", imagecodecs.htj2k_decode),
    ("jpeg2k_decode", imagecodecs.jpeg2k_decode),
    ("pydicom, pylibjpeg", by_pydicom),
):
    whole = np.array_equal(decode(code), film)
    try:
        values = np.unique(decode(bytes(damaged))).tolist()
        outcome = "silent, values " + str(values if len(values) < 5 else len(values))
    except Exception as exc:
        outcome = "raised " + type(exc).__name__
    seen.append((whole, outcome))
    print(f"{name:20} whole: {'right' if whole else 'wrong'}; damaged: {outcome}")
print("what nobody could catch:", unraisable)
same = seen == [(True, "silent, values [0]"), (True, "raised Jpeg2kError"), (True, "raised RuntimeError")]
sys.exit(0 if same and unraisable == ["ojph error"] else "the behaviour has changed")
PY
