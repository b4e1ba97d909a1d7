#!/usr/bin/env bash
# safetensors 0.8.0 with NumPy 2.4.6: the bytes of a file with metadata.
#
# Expected: the same tensors and the same metadata give the same bytes; the format has no time stamp. (Guess before the run: the
# order of the metadata changes. Right.)
# Seen: without metadata, or with one entry, they do. With several entries the header lists them in another order each time, even
# within one process: the same call gives several different files of the same length. What is read back is equal.
#
# Why it matters: a digest of the file does not name the model. Two exports of one model differ, a build cannot be repeated to the
# byte, and a cache or a registry by digest holds the same weights twice. Metadata in one entry, as one text, avoids it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "safetensors==0.8.0" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import hashlib
import sys

import numpy as np
import safetensors
from safetensors.numpy import save

print("safetensors", safetensors.__version__)
weights = {name: np.full(4, n, np.float32) for n, name in enumerate(("conv", "norm", "head"))}
entries = {f"key{n}": str(n) for n in range(8)}
seen = []
for count in (0, 1, 8):
    files = [save(weights, dict(list(entries.items())[:count]) or None) for _ in range(40)]
    digests = {hashlib.sha256(file).hexdigest() for file in files}
    seen.append(len(digests) > 1)
    print(f"{count} entries of metadata, 40 times: {len(digests)} digests, lengths {sorted({len(file) for file in files})}")
sys.exit(0 if seen == [False, False, True] else "the behaviour has changed")
PY
