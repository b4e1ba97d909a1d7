#!/usr/bin/env bash
# pydicom 3.0.2: what `import pydicom` loads where requests 2.34.2 and tqdm 4.70.1 happen to be installed.
#
# Expected: the import needs the standard library, and what else is there is loaded where it is used. (Guess before the run: the
# modules of requests are loaded. Right: they and what they need are more than pydicom itself has.)
# Seen: requests and tqdm, with urllib3, idna and their like, are loaded at once, more modules than pydicom has. They
# serve the download of test data only, which the program may never call. Their absence is no error: nothing is loaded then.
#
# Why it matters: a receiver of films holds an HTTP client in memory without having asked for one, in each process that it
# starts. Whether it does depends on what some other package brought along, so that a laptop and an image of a container differ.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pydicom==3.0.2"
cd "$work"
cat >look.py <<'PY'
import sys
from collections import Counter

before = set(sys.modules)
import pydicom

new = Counter(name.partition(".")[0] for name in set(sys.modules) - before)
clients = {name: new[name] for name in ("requests", "urllib3", "idna", "tqdm")}
print(f"pydicom {pydicom.__version__}: {new.total()} modules, {new['pydicom']} of its own; {clients}")
if sys.argv[1] == "with":
    right = clients["requests"] and clients["urllib3"] and clients["tqdm"] and sum(clients.values()) > new["pydicom"]
else:
    right = not any(clients.values())
sys.exit(0 if right else "the behaviour has changed")
PY
venv/bin/python look.py without
venv/bin/pip install --quiet --disable-pip-version-check "requests==2.34.2" "tqdm==4.70.1"
venv/bin/python look.py with
