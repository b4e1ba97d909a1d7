#!/usr/bin/env bash
# Pillow 13.0.0: JPEG 2000 of 12 bits, a common depth of radiographs.
#
# The codestream says its precision (SIZ, Ssiz): 12 bits here, and the coding is reversible.
#
# Expected: the values that went in, 0 to 4095, in an image of mode "I;16"; a signed film as signed values
# or refused.
# Seen: every value times 16, so that 4095 reads 65520; nothing on the image tells of the 12 bits. A signed film comes out
# unsigned, half the range added and then times 16 too: -2048 reads 0. imagecodecs and OpenCV read what went in.
#
# Why it matters: "lossless" is true only up to a factor that depends on the depth. A window of the header, a rescale, a pixel
# padding value or a threshold of an exposure index does not fit the pixels any more, while the picture looks all right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  "pillow==13.0.0" "imagecodecs==2026.3.6" "opencv-python-headless==5.0.0.93" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY' 2> >(grep -v 'unspecified color space' >&2)
import io
import sys

import cv2
import imagecodecs
import numpy as np
import PIL
from PIL import Image


def encode(film):
    return imagecodecs.jpeg2k_encode(film, level=0, reversible=True, bitspersample=12, codecformat="j2k")


def by_pillow(code):
    image = Image.open(io.BytesIO(code))
    return image.mode, np.asarray(image)[0].tolist()


film = np.array([[0, 1, 1000, 2048, 4095]] * 8, np.uint16)
code = encode(film)
mode, unsigned = by_pillow(code)
by_imagecodecs = imagecodecs.jpeg2k_decode(code)[0].tolist()
by_opencv = cv2.imdecode(np.frombuffer(code, np.uint8), cv2.IMREAD_UNCHANGED)[0].tolist()
minus = film.astype(np.int16) - 2048
signed_mode, signed = by_pillow(encode(minus))
signed_imagecodecs = imagecodecs.jpeg2k_decode(encode(minus))[0].tolist()

print("Pillow", PIL.__version__, "imagecodecs", imagecodecs.__version__, "OpenCV", cv2.__version__)
print("encoded     ", film[0].tolist())
print("imagecodecs ", by_imagecodecs)
print("OpenCV      ", by_opencv)
print("Pillow      ", unsigned, mode)
print("encoded, signed ", minus[0].tolist())
print("imagecodecs     ", signed_imagecodecs)
print("Pillow          ", signed, signed_mode)
stored = film[0].tolist()
same = (by_imagecodecs == by_opencv == stored and signed_imagecodecs == minus[0].tolist()
        and unsigned == signed == [16 * value for value in stored] and mode == signed_mode == "I;16")
sys.exit(0 if same else "the behaviour has changed")
PY
