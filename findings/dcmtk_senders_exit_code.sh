#!/usr/bin/env bash
# DCMTK 3.6.7: what the exit codes of storescu and dcmsend say about a film that the peer refused.
#
# PS3.4 B.2.3: A700H and C000H are failures, and the film is not stored. By the custom of the shell a sender ends with 0 only
# where all that it was asked to send has gone through.
#
# Expected: storescu and dcmsend end with 0 when both films are stored, and with another number when one is refused.
# Seen: storescu does (167 for A700H: the upper byte of the status). With --no-halt, which sends the other films too, it ends
# with 0, whatever was refused. dcmsend ends with 0 always, even if every film was refused: its codes are about files and the
# network only. The refusals stand in the text of -v, or in the file of --create-report-file.
#
# Why it matters: a script `dcmsend ... && rm ...` deletes the films that a full archive refused.
set -euo pipefail
command -v storescu dcmsend >/dev/null || { echo "needs storescu and dcmsend (package dcmtk)"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pynetdicom==3.0.4" "pydicom==3.0.2"
cd "$work"
storescu --version | sed -n 1p
venv/bin/python - <<'PY'
import subprocess
import sys

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation as DX

FILMS = {"first.dcm": "2.25.101", "second.dcm": "2.25.102"}
for path, uid in FILMS.items():
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID = DX, uid, "PHANTOM"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2"
    ds.save_as(path, enforce_file_format=True)
refused = set()
peer = AE("PEER")
peer.add_supported_context(DX)
answer = [(evt.EVT_C_STORE, lambda event: 0xA700 if event.request.AffectedSOPInstanceUID in refused else 0x0000)]
server = peer.start_server(("127.0.0.1", 0), block=False, evt_handlers=answer)
port = str(server.socket.getsockname()[1])
seen = {}
for command in (["storescu"], ["storescu", "--no-halt"], ["dcmsend"]):
    for refused in (set(), {"2.25.101"}, set(FILMS.values())):
        ended = subprocess.run([*command, "127.0.0.1", port, *FILMS], capture_output=True, timeout=60).returncode
        seen.setdefault(" ".join(command), []).append(ended)
server.shutdown()
for command, codes in seen.items():
    print(f"{command:20} none, one, both of two refused: exit codes {codes}")
same = seen == {"storescu": [0, 167, 167], "storescu --no-halt": [0, 0, 0], "dcmsend": [0, 0, 0]}
sys.exit(0 if same else "the behaviour has changed")
PY
