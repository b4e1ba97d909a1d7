#!/usr/bin/env bash
# numpy 2.4.6 (with the OpenBLAS of its wheel): signal.pthread_sigmask after `import numpy`.
#
# POSIX: a signal to the process goes to any thread that does not block it. A program that wants to take SIGTERM with
# signal.sigwait blocks it first, before it starts threads; each new thread inherits the mask.
#
# Expected: a program that starts no thread, blocks SIGTERM after its imports, does a piece of work and then calls sigwait
# gets there a SIGTERM that was sent during the work.
# Seen: with `import numpy` above, the program is killed (-15) in its work. The import has started the threads of OpenBLAS,
# which do not block SIGTERM, and one of them takes it. A SIGTERM that comes while the program stands in sigwait is taken
# there, so a simple trial passes. With the block above the import, or OPENBLAS_NUM_THREADS=1, sigwait gets it in both cases.
#
# Why it matters: imports stand at the top of a file by every style guide. A server that ends its films in order on SIGTERM
# is killed in the middle of one, on machines of two cores and more only: not in a container of one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import os
import subprocess
import sys

NUMPY, BLOCK = "import numpy", "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})"
WORK_AND_WAIT = "print('ready', flush=True); sys.stdin.readline(); signal.sigwait({signal.SIGTERM}); sys.exit(7)"


def ended(first, second, threads):
    """7: sigwait took the signal. -15: it killed the process."""
    lines = "\n".join(("import sys", first, second, WORK_AND_WAIT))
    env = os.environ | {"OPENBLAS_NUM_THREADS": str(threads)}
    child = subprocess.Popen([sys.executable, "-c", lines], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    child.terminate()  # its work is to wait for a line that comes after the signal
    child.communicate("done\n", timeout=60)
    return child.returncode


seen = {
    "import, block": ended(NUMPY, BLOCK, 2),
    "block, import": ended(BLOCK, NUMPY, 2),
    "import, block, one thread": ended(NUMPY, BLOCK, 1),
}
for order, code in seen.items():
    print(f"{order:26} -> {'sigwait got it' if code == 7 else f'killed ({code})'}")
sys.exit(0 if list(seen.values()) == [-15, 7, 7] else "the behaviour has changed")
PY
