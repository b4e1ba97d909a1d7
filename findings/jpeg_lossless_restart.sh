#!/usr/bin/env bash
# imagecodecs 2026.3.6: JPEG lossless (SOF3) with a restart interval of one row.
#
# ITU-T T.81, B.2.4.4 and Annex H: a DRI segment announces the interval, an RSTm marker stands between two intervals, and the
# prediction begins anew after each. Encoders write it so that a fault in one row spoils that row alone.
#
# Expected: every decoder gives the film, or says that it does not know restart intervals.
# Seen: jpeg8_decode, and pylibjpeg-libjpeg 2.5.0 and GDCM 3.2.6 behind pydicom, give the film. jpegsof3_decode raises
# "unsupported Restart Segments". ljpeg_decode gives the first row right and every other row wrong, without a word.
#
# Why it matters: whoever tries the decoders in turn until one does not raise may stop at the one that is wrong. Without
# restart intervals all five agree, so tests with common films do not find it.
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

FILM = np.random.default_rng(2).integers(0, 4096, (16, 16)).astype(np.uint16)


def entropy(samples, before):
    """The scan bytes of one row, predicted from the left (T.81 Annex H), with 5 bits for each of the 17 categories."""
    bits = ""
    for value in samples:
        difference, before = value - before, value
        category = abs(difference).bit_length()
        bits += f"{category:05b}"
        if category:
            bits += f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}"
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")


def encode(film, restart):
    rows = film.tolist()
    if restart:
        parts = [entropy(row, 2048) for row in rows]
        scan = parts[0] + b"".join(bytes([0xFF, 0xD0 + n % 8]) + part for n, part in enumerate(parts[1:]))
    else:  # the first row alone: a further one would be predicted from the row above
        scan = entropy(rows[0], 2048)
    height = len(rows) if restart else 1
    sof3 = struct.pack(">BHHB3B", 12, height, len(rows[0]), 1, 1, 0x11, 0)
    dht = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    segments = [(0xC3, sof3), (0xC4, dht), *([(0xDD, struct.pack(">H", len(rows[0])))] if restart else [])]
    segments.append((0xDA, bytes([1, 1, 0x00, 1, 0, 0])))
    head = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


def by_pydicom(code, plugin, rows):
    about = {"rows": rows, "columns": 16, "number_of_frames": 1, "samples_per_pixel": 1, "bits_allocated": 16, "bits_stored": 12}
    about |= {"photometric_interpretation": "MONOCHROME2", "pixel_representation": 0, "pixel_keyword": "PixelData"}
    return get_decoder(JPEGLosslessSV1).as_array(encapsulate([code]), decoding_plugin=plugin, **about)[0]


print("imagecodecs", imagecodecs.__version__)
seen = {}
for name, decode in (
    ("jpeg8_decode", lambda code, rows: imagecodecs.jpeg8_decode(code)),
    ("jpegsof3_decode", lambda code, rows: imagecodecs.jpegsof3_decode(code)),
    ("ljpeg_decode", lambda code, rows: imagecodecs.ljpeg_decode(code)),
    ("pylibjpeg", lambda code, rows: by_pydicom(code, "pylibjpeg", rows)),
    ("gdcm", lambda code, rows: by_pydicom(code, "gdcm", rows)),
):
    plain = np.array_equal(np.reshape(decode(encode(FILM, False), 1), (1, 16)), FILM[:1])
    try:
        rows_right = int((decode(encode(FILM, True), 16) == FILM).all(axis=1).sum())
        seen[name] = (plain, rows_right)
    except Exception as exc:
        seen[name] = (plain, str(exc))
    print(f"{name:16} without: {'right' if plain else 'wrong'}; with restart intervals, rows right of 16: {seen[name][1]}")
right = (True, 16)
same = seen["jpeg8_decode"] == seen["pylibjpeg"] == seen["gdcm"] == right and seen["ljpeg_decode"] == (True, 1)
sys.exit(0 if same and "unsupported Restart" in str(seen["jpegsof3_decode"][1]) else "the behaviour has changed")
PY
