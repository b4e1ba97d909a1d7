#!/usr/bin/env bash
# Pillow 13.0.0: an uncompressed TIFF whose Orientation tag is 5, 6, 7 or 8 (a film turned by a quarter).
#
# Expected: the same pixels whether the file is opened by its path or through a file object.
# Seen: through a file object the film is turned as the tag says, 4 x 3 becoming 3 x 4. By its path the stored bytes are cut into
# rows of the wrong length (the height instead of the width) and turned then: the shape stays the old one and the pixels are
# scrambled. No error, no warning. Orientations 1 to 4 agree both ways, and so do a compressed file (LZW) and a square film.
#
# Why it matters: a digitised film or a scanner's export is a TIFF like this, and a film is seldom square. A test with a square
# picture, or one that reads out of memory, does not show it; a network that is fed by path learns from slanted stripes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pillow==13.0.0" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import io
import pathlib
import sys

import numpy as np
import PIL
from PIL import Image

ORIENTATION = 274  # the TIFF tag
# TIFF 6.0: which side of the stored array is the top, and which the left
UPRIGHT = {
    1: lambda a: a, 2: np.fliplr, 3: lambda a: a[::-1, ::-1], 4: np.flipud,
    5: np.transpose, 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].T, 8: np.rot90,
}  # fmt: skip
CASES = {
    "oblong, uncompressed": (np.arange(12, dtype=np.uint8).reshape(3, 4), "raw"),
    "oblong, LZW": (np.arange(12, dtype=np.uint8).reshape(3, 4), "tiff_lzw"),
    "square, uncompressed": (np.arange(16, dtype=np.uint8).reshape(4, 4), "raw"),
}
print("Pillow", PIL.__version__)
print(f"{'':21} orientation   right by path   right by file object")
seen = {}
for case, (film, compression) in CASES.items():
    for orientation, upright in UPRIGHT.items():
        path = pathlib.Path("film.tif")
        Image.fromarray(film).save(path, compression=compression, tiffinfo={ORIENTATION: orientation})
        right = upright(film)
        by_path = np.asarray(Image.open(path))
        by_file = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
        answer = np.array_equal(by_path, right), np.array_equal(by_file, right)
        seen[case, orientation] = answer
        print(f"{case:21} {orientation:11}   {answer[0]!s:13}   {answer[1]}")
        if orientation == 6 and not answer[0]:
            print("    should be", right.tolist())
            print("    by path  ", by_path.tolist())
same = all(answer == (case != "oblong, uncompressed" or o < 5, True) for (case, o), answer in seen.items())
sys.exit(0 if same else "the behaviour has changed")
PY
