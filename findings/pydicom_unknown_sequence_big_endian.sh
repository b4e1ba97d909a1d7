#!/usr/bin/env bash
# pydicom 3.0.2: a private sequence of VR UN and undefined length, in Explicit VR Big Endian.
#
# PS3.5 6.2.2 (since CP-246): the inside of such a value is Implicit VR Little Endian, whatever the transfer syntax of the file.
# A system that passes an unknown sequence on writes it so.
#
# Expected: pydicom reads it, in the big endian file as in the little endian one.
# Seen: the little endian file is read. In the big endian one pydicom takes the inside for big endian too, loses its way, and
# raises OSError for the whole file: not even the patient's name can be read. The bytes of the sequence are the same in both.
# dcmdump of DCMTK 3.6.7 reads both files.
#
# Why it matters: Explicit VR Big Endian is retired, but old archives hold it, and an archive that did not know a private
# sequence of the modality kept it as UN. Whoever moves such an archive with pydicom cannot even read whose films they are.
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
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian


def element(order, group, number, vr, value):
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack(order + "HH2sH", group, number, vr, len(value)) + value


def implicit_little(group, number, value):
    return struct.pack("<HHI", group, number, len(value)) + value


# One item that holds (0009,1002), then the Sequence Delimitation Item; all of it Implicit VR Little Endian.
INSIDE = implicit_little(0xFFFE, 0xE000, implicit_little(0x0009, 0x1002, b"GRID OUT")) + implicit_little(0xFFFE, 0xE0DD, b"")


def film(syntax, order):
    meta = element("<", 2, 0x02, b"UI", ComputedRadiographyImageStorage.encode())
    meta += element("<", 2, 0x03, b"UI", b"2.25.1") + element("<", 2, 0x10, b"UI", syntax.encode())
    meta = element("<", 2, 0x00, b"UL", struct.pack("<I", len(meta))) + meta
    unknown = struct.pack(order + "HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + INSIDE
    return (
        bytes(128) + b"DICM" + meta
        + element(order, 8, 0x16, b"UI", ComputedRadiographyImageStorage.encode())
        + element(order, 8, 0x18, b"UI", b"2.25.1")
        + element(order, 9, 0x10, b"LO", b"A MODALITY") + unknown
        + element(order, 0x10, 0x10, b"PN", b"Film^Test")
    )  # fmt: skip


def answer(raw):
    try:
        ds = pydicom.dcmread(io.BytesIO(raw))
    except OSError as exc:
        return f"OSError: {exc}"
    item = ds[0x0009, 0x1001].value[0]
    return f"{ds.PatientName}, and in the sequence {item[0x0009, 0x1002].value!r}"


little = answer(film(ExplicitVRLittleEndian, "<"))
big = answer(film(ExplicitVRBigEndian, ">"))
print("pydicom", pydicom.__version__)
print("Explicit VR Little Endian:", little)
print("Explicit VR Big Endian:   ", big)
same = little == "Film^Test, and in the sequence b'GRID OUT'" and big.startswith("OSError: No tag to read")
sys.exit(0 if same else "the behaviour has changed")
PY
