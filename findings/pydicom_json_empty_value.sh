#!/usr/bin/env bash
# pydicom 3.0.2: one empty value among several, on its way to the DICOM JSON model and back.
#
# PS3.5 6.4 lets single values of a list be empty, as in "\430". PS3.18 F.2.5 writes such a value as null.
#
# Expected: to_json_dict gives [null, 430], and from_json makes "\430" of it again.
# Seen: to_json_dict raises ValueError for DS and IS, and IndexError for a person name, and the message names no tag; for CS it
# writes "" where null is due. from_json takes the null of another program for DS and IS, and the file that is then saved holds
# the four letters "None" as a number, without an error or a warning. CS and person names come back right.
#
# Why it matters: one empty value costs all the metadata of the film in a DICOMweb answer. And the other way, a film that came as
# JSON (from an archive whose nulls are right) is stored with a Window Center of None, which no reader can make a number of.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pydicom==3.0.2"
cd "$work"
venv/bin/python - <<'PY'
import io
import struct
import sys

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation as DX, ExplicitVRLittleEndian

CASES = {
    "DS": (0x00281050, b"\\2048 ", [None, 2048]),
    "IS": (0x00181149, b"\\430", [None, 430]),
    "PN": (0x00101001, b"A^B\\\\C^D", [{"Alphabetic": "A^B"}, None, {"Alphabetic": "C^D"}]),
    "CS": (0x00080008, b"DERIVED\\PRIMARY\\\\X", ["DERIVED", "PRIMARY", None, "X"]),
}


def saved(ds):
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = DX, "2.25.1"
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def element(tag, vr, value):
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


seen = {}
print("pydicom", pydicom.__version__)
for vr, (tag, raw, model) in CASES.items():
    plain = saved(Dataset())
    at = plain.index(struct.pack("<HH", 8, 0x16))
    whole = element(tag, vr, raw)
    bytes_of_film = plain[:at] + whole + plain[at:] if tag < 0x00080016 else plain + whole
    try:
        out = pydicom.dcmread(io.BytesIO(bytes_of_film)).to_json_dict()[f"{tag:08X}"]["Value"]
    except (ValueError, IndexError) as exc:
        out = f"{type(exc).__name__}: {exc}"
    back = saved(Dataset.from_json({f"{tag:08X}": {"vr": vr, "Value": model}}))
    start = back.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF)) + 8
    written = back[start:start + struct.unpack_from("<H", back, start - 2)[0]]
    seen[vr] = str(out).split(":")[0], written
    print(f"{vr} {raw.decode()!r} to JSON: {out}")
    print(f"   JSON {model} to a file: {written}")
same = (
    [seen[vr][0] for vr in ("DS", "IS", "PN")] == ["ValueError", "ValueError", "IndexError"]
    and seen["CS"] == ("['DERIVED', 'PRIMARY', '', 'X']", b"DERIVED\\PRIMARY\\\\X")
    and seen["DS"][1].startswith(b"None\\2048")
    and seen["IS"][1] == b"None\\430"
    and seen["PN"][1] == b"A^B\\\\C^D"
)
sys.exit(0 if same else "the behaviour has changed")
PY
