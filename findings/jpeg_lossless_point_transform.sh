#!/usr/bin/env bash
# imagecodecs 2026.3.6 and pylibjpeg-libjpeg 2.5.0: JPEG lossless (SOF3) with a point transform, as dcmcjpeg +pt writes it.
#
# ITU-T T.81, Annex H: the encoder divides the samples by 2^Pt, and the decoder multiplies by 2^Pt again. Pt stands in the scan
# header, in the low half of its last byte.
#
# Expected: 0, 4, 1000, 4092 out of 0, 5, 1001, 4095 with Pt = 2, out of every decoder.
# Seen: jpeg8_decode of imagecodecs and GDCM give that. jpegsof3_decode leaves the samples divided by four, ljpeg_decode gives
# samples that fit neither, and pylibjpeg behind pydicom gives 4095 for every pixel. Nobody raises. With Pt = 0 all agree, and
# with Pt = 1 pylibjpeg is right. The same three misread what dcmcjpeg of DCMTK 3.6.7 writes with +pt 2.
#
# Why it matters: JPEG lossless is a common compression of radiographs in archives. Which plug-in is installed decides
# whether the film is right, four times too dark, or white; and a film that is too dark looks right once it is windowed by its
# own range, so that only its numbers are wrong.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "imagecodecs==2026.3.6" "pydicom==3.0.2" "numpy==2.4.6" \
  "pylibjpeg==2.1.0" "pylibjpeg-libjpeg==2.5.0" "python-gdcm==3.2.6"
cd "$work"
venv/bin/python - <<'PY'
import struct
import sys

import imagecodecs
import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGLosslessSV1

FILM = np.array([[0, 5, 1001, 4095]] * 4, np.uint16)


def encode(film, point_transform):
    """JPEG lossless, 12 bits, predictor 1 (T.81 Annex H), with a Huffman table that gives all 17 categories 5 bits."""
    samples = film.astype(int) >> point_transform
    predicted = np.empty_like(samples)
    predicted[:, 1:] = samples[:, :-1]
    predicted[1:, 0] = samples[:-1, 0]
    predicted[0, 0] = 1 << (12 - point_transform - 1)
    bits = ""
    for difference in (samples - predicted).ravel().tolist():
        category = abs(difference).bit_length()
        bits += f"{category:05b}"
        if category:
            bits += f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    rows, columns = film.shape
    sof3 = struct.pack(">BHHB3B", 12, rows, columns, 1, 1, 0x11, 0)
    dht = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    sos = bytes([1, 1, 0x00, 1, 0, point_transform])
    segments = ((0xC3, sof3), (0xC4, dht), (0xDA, sos))
    head = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


def by_pydicom(code, plugin):
    about = {"rows": 4, "columns": 4, "number_of_frames": 1, "samples_per_pixel": 1, "photometric_interpretation": "MONOCHROME2"}
    about |= {"bits_allocated": 16, "bits_stored": 12, "pixel_representation": 0, "pixel_keyword": "PixelData"}
    return get_decoder(JPEGLosslessSV1).as_array(encapsulate([code]), decoding_plugin=plugin, **about)[0]


RIGHT = {0: [0, 5, 1001, 4095], 2: [0, 4, 1000, 4092]}
WRONG_NOW = {"jpegsof3_decode": [0, 1, 250, 1023], "ljpeg_decode": [1536, 1537, 1786, 2559], "pylibjpeg": [4095] * 4}
changed = False
print("imagecodecs", imagecodecs.__version__, "film", FILM[0].tolist())
for pt, right in RIGHT.items():
    code = encode(FILM, pt)
    for name, decoded in (
        ("jpeg8_decode", imagecodecs.jpeg8_decode(code)),
        ("jpegsof3_decode", imagecodecs.jpegsof3_decode(code)),
        ("ljpeg_decode", imagecodecs.ljpeg_decode(code)),
        ("pylibjpeg", by_pydicom(code, "pylibjpeg")),
        ("gdcm", by_pydicom(code, "gdcm")),
    ):
        values = decoded[0].tolist()
        print(f"Pt {pt}  {name:15}", values, "" if values == right else "<- wrong")
        changed |= values != (WRONG_NOW.get(name, right) if pt else right)
sys.exit("the behaviour has changed" if changed else 0)
PY
