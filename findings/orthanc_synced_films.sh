#!/usr/bin/env bash
# Orthanc 1.10.1 and storescp of DCMTK 3.6.7: what is on the disk, and not only with the kernel, once the answer is 0000H.
#
# By PS3.4 B.2.3 0000H says that the film is stored. Orthanc says of SyncStorageArea, on by default, that
# films are guaranteed to be on the disk at once.
#
# Expected: with SyncStorageArea the film and the entry that finds it are synced before the answer, without it neither is. (Guess
# before the run: the film is, the index is not; storescp syncs nothing. Right.)
# Seen: with it one fdatasync for each film, of its file alone: neither its folder nor the SQLite index is synced while they
# come; the index is when Orthanc ends. Without it, and with storescp, there is not one call for all the films.
#
# Why it matters: after a loss of power the pixels of an acknowledged film can lie in the storage area under a random name that
# no index knows. A sender that deletes after 0000H has lost it as far as any query tells, in spite of the option.
set -euo pipefail
command -v Orthanc storescp strace >/dev/null || { echo "needs Orthanc, storescp (package dcmtk) and strace"; exit 2; }
strace -qq true 2>/dev/null || { echo "strace may not trace here"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pynetdicom==3.0.4" "pydicom==3.0.2"
cd "$work"
Orthanc --version | sed -n 1p
storescp --version | sed -n 1p
venv/bin/python - <<'PY'
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation as DX

FILMS = 10


def film(number):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID = DX, f"2.25.{100 + number}", "PHANTOM"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 4, 4, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.add_new("PixelData", "OW", bytes([1, 0]) * 16)
    return ds


def synced(name, command, port):
    """How often films and how often anything else were synced while the films were sent, and the answers."""
    trace = Path(name + ".trace")
    calls = "trace=fsync,fdatasync,sync,syncfs,msync,sync_file_range"
    server = subprocess.Popen(
        ["strace", "-f", "-qq", "-y", "-e", calls, "-e", "signal=none", "-o", str(trace), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        modality = AE("MODALITY")
        modality.add_requested_context(DX, ExplicitVRLittleEndian)
        for _ in range(300):
            association = modality.associate("127.0.0.1", port)
            if association.is_established:
                break
            time.sleep(0.1)
        start = len(trace.read_text().splitlines())
        answers = {association.send_c_store(film(number)).Status for number in range(FILMS)}
        lines = trace.read_text().splitlines()[start:]
        association.release()
    finally:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGTERM)
        server.wait(60)
    index = sum("/index" in line for line in lines)
    return len(lines) - index, index, answers


seen = {}
for name, more in (("SyncStorageArea", {}), ("without it", {"SyncStorageArea": False}), ("storescp", None)):
    with socket.socket() as http, socket.socket() as dimse:
        http.bind(("127.0.0.1", 0))
        dimse.bind(("127.0.0.1", 0))
        ports = http.getsockname()[1], dimse.getsockname()[1]
    Path(name).mkdir()
    settings = {"StorageDirectory": name, "IndexDirectory": name, "HttpPort": ports[0], "DicomPort": ports[1], "Plugins": []}
    Path("orthanc.json").write_text(json.dumps(settings | {"AuthenticationEnabled": False} | (more or {})))
    command = ["storescp", "-od", name, str(ports[1])] if more is None else ["Orthanc", "orthanc.json"]
    seen[name] = synced(name, command, ports[1])
    print(f"{name:16} {FILMS} films, answers {seen[name][2]}: {seen[name][0]} syncs of films, {seen[name][1]} of the index")
same = seen == {"SyncStorageArea": (FILMS, 0, {0}), "without it": (0, 0, {0}), "storescp": (0, 0, {0})}
sys.exit(0 if same else "the behaviour has changed")
PY
