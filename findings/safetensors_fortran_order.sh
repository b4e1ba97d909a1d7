#!/usr/bin/env bash
# safetensors 0.8.0 with NumPy 2.4.6: an array that is not laid out row by row.
#
# The format holds little endian values in row order. safetensors.numpy.save takes any array; safetensors.torch refuses a
# tensor that is not contiguous.
#
# Expected: NumPy's arrays are copied into row order, as with 0.7.0, or refused as torch's are. (Guess before the run: copied.
# Wrong.)
# Seen: neither. 0.8.0 writes the memory as it lies under the logical shape. A transposed or Fortran-ordered matrix comes back
# mixed up, and every second value of a row as its first half, without an error. Only a big endian array, which is copied for the
# swap, comes back right. 0.7.0 is right in all. Reported as safetensors issue 825, open when this was seen.
#
# Why it matters: weights that were transposed for another framework, or that come from a matrix solver, have the right shape,
# type and checksum after, and the wrong values.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 0.7.0 0.8.0; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet --disable-pip-version-check "safetensors==$version" "numpy==2.4.6"
done
cd "$work"
cat >look.py <<'PY'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

rows = np.arange(6, dtype="<f4").reshape(2, 3)
arrays = {
    "rows": rows,
    "Fortran order": np.asfortranarray(rows),
    "transposed": rows.T,
    "every second": np.arange(6, dtype="<i2")[::2],
    "big endian": rows.astype(">f4"),
}
right = []
for name, array in arrays.items():
    back = load(save({"x": array}))["x"]
    right.append(np.array_equal(back, array))
    print(f"safetensors {safetensors.__version__} {name:14} {array.tolist()} -> {back.tolist()}")
expected = [True] * 5 if sys.argv[1] == "0.7.0" else [True, False, False, False, True]
sys.exit(0 if right == expected else "the behaviour has changed")
PY
0.7.0/bin/python look.py 0.7.0
0.8.0/bin/python look.py 0.8.0
