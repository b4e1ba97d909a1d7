#!/usr/bin/env bash
# Orthanc 1.10.1 as a sender: a peer that stores a film and answers with a warning.
#
# PS3.7 Annex C: 0001H, 0107H, 0116H and all of BxxxH are warnings: the operation was done. PS3.4 B.2.3 names B000H, B006H and
# B007H for C-STORE and leaves the others open. storescu of DCMTK 3.6.7 takes all of these for stored.
#
# Expected: POST /modalities/peer/store of two films succeeds for all of them, as it does for 0000H.
# Seen: for B000H, B006H and B007H it succeeds. For B001H, 0107H and 0116H it fails with HTTP 500 "has failed with DIMSE
# status 0xB001", and the second film is not sent at all.
#
# Why it matters: the first film is in the archive, though its sender says that it failed. The others of the study never leave,
# and sending once more stops at the same film for ever.
set -euo pipefail
command -v Orthanc >/dev/null || { echo "needs Orthanc (package orthanc)"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pynetdicom==3.0.4" "pydicom==3.0.2" "requests==2.34.2"
cd "$work"
Orthanc --version | sed -n 1p
venv/bin/python - <<'PY'
import json
import socket
import subprocess
import sys
import time

import requests
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation as DX

status, received = 0x0000, 0


def stored(event):
    global received
    received += 1
    return status


peer = AE("PEER")
peer.add_supported_context(DX)
server = peer.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)])
with socket.socket() as http:
    http.bind(("127.0.0.1", 0))
    port = http.getsockname()[1]
settings = {"StorageDirectory": "db", "IndexDirectory": "db", "HttpPort": port, "DicomServerEnabled": False, "Plugins": []}
settings |= {"AuthenticationEnabled": False, "DicomModalities": {"peer": ["PEER", "127.0.0.1", server.socket.getsockname()[1]]}}
with open("orthanc.json", "w") as file:
    json.dump(settings, file)
orthanc = subprocess.Popen(["Orthanc", "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
url, ids, seen = f"http://127.0.0.1:{port}", [], {}
try:
    for _ in range(300):
        try:
            requests.get(url + "/system", timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.1)
    for n in ("1", "2"):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID = DX, "2.25.10" + n, "PHANTOM"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2"
        ds.save_as("film.dcm", enforce_file_format=True)
        with open("film.dcm", "rb") as film:
            ids.append(requests.post(url + "/instances", data=film.read(), timeout=30).json()["ID"])
    for status in (0x0000, 0xB000, 0xB006, 0xB007, 0xB001, 0x0107, 0x0116):
        received = 0
        answer = requests.post(url + "/modalities/peer/store", json=ids, timeout=60)
        seen[status] = (answer.status_code, received)
        print(f"{status:04X}H -> HTTP {answer.status_code}, {received} of 2 films sent", answer.json().get("Details", ""))
finally:
    orthanc.terminate()
    orthanc.wait(60)
    server.shutdown()
fine, failed = (0x0000, 0xB000, 0xB006, 0xB007), (0xB001, 0x0107, 0x0116)
same = all(seen[one] == (200, 2) for one in fine) and all(seen[one] == (500, 1) for one in failed)
sys.exit(0 if same else "the behaviour has changed")
PY
