#!/usr/bin/env bash
# Orthanc 1.10.1: a film that is sent again, corrected, under its own SOP Instance UID.
#
# PS3.4 B.2.3: 0000H says that the film is stored. For a SOP Instance UID that is there already PS3.7 Annex C has 0111H
# (Duplicate SOP Instance). A SOP Instance UID names one instance in the whole world, whoever the patient is.
#
# Expected: the corrected film replaces the first one, or the sender hears that it did not. There is one film of this UID after.
# Seen: with other pixels under the same Patient ID, Orthanc answers 0000H and keeps the old film (OverwriteInstances is false
# unless one sets it). With another Patient ID it answers 0000H and keeps both: two films of one SOP Instance UID, of two
# patients. Its own identifier is made of Patient ID, study, series and instance together.
#
# Why it matters: a department that mends a wrong Patient ID at the modality and sends once more believes that the archive is
# right. The film stays with the wrong patient too; and a sender that deletes after 0000H deletes the only mended pixels.
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
from io import BytesIO

import requests
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation as DX


def film(patient, grey):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientID = DX, "2.25.101", patient
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.1", "2.25.2"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 4, 4, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.add_new("PixelData", "OW", bytes([grey, 0]) * 16)
    return ds


with socket.socket() as http, socket.socket() as dimse:
    http.bind(("127.0.0.1", 0))
    dimse.bind(("127.0.0.1", 0))
    ports = http.getsockname()[1], dimse.getsockname()[1]
settings = {"StorageDirectory": "db", "IndexDirectory": "db", "HttpPort": ports[0], "DicomPort": ports[1], "Plugins": []}
with open("orthanc.json", "w") as file:
    json.dump(settings | {"AuthenticationEnabled": False}, file)
orthanc = subprocess.Popen(["Orthanc", "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
url, seen = f"http://127.0.0.1:{ports[0]}", []
try:
    for _ in range(300):
        try:
            requests.get(url + "/system", timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.1)
    modality = AE("MODALITY")
    modality.add_requested_context(DX, ExplicitVRLittleEndian)
    association = modality.associate("127.0.0.1", ports[1])
    for patient, grey in (("WRONG", 1), ("WRONG", 2), ("RIGHT", 2)):
        answer = association.send_c_store(film(patient, grey)).Status
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": "2.25.101"}}
        kept = []
        for one in requests.post(url + "/tools/find", json=query, timeout=30).json():
            ds = dcmread(BytesIO(requests.get(f"{url}/instances/{one}/file", timeout=30).content))
            kept.append((str(ds.PatientID), ds.PixelData[0]))
        seen.append((answer, sorted(kept)))
        print(f"sent {patient}, grey {grey}: answer {answer:04X}H; films of this UID now: {sorted(kept)}")
    association.release()
finally:
    orthanc.terminate()
    orthanc.wait(60)
same = seen == [(0, [("WRONG", 1)]), (0, [("WRONG", 1)]), (0, [("RIGHT", 2), ("WRONG", 1)])]
sys.exit(0 if same else "the behaviour has changed")
PY
