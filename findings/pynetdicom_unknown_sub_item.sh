#!/usr/bin/env bash
# pynetdicom 3.0.4: an A-ASSOCIATE-RQ with a user information sub-item of a type that the receiver does not know.
#
# PS3.8 Annex D.2: new editions and new services add sub-items (types 51H to FFH). An acceptor ignores those that it does not
# know, and does not reject the association because of them. PS3.8 9.3.1 says the same of items in general.
#
# Expected: A-ASSOCIATE-AC with and without the sub-item 5FH, which no edition has given away.
# Seen: with it the decoder raises KeyError(95), and the server answers A-ABORT. Before and after it accepts as usual.
#
# Why it matters: a modality that announces something new or private cannot send a single film to a server made of pynetdicom,
# and the modality's log only says that the peer aborted. Nobody looks for the fault in a field that was to be ignored.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pynetdicom==3.0.4" "pydicom==3.0.2"
cd "$work"
venv/bin/python - <<'PY'
import logging
import socket
import struct
import sys

import pynetdicom
from pynetdicom import AE
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation as DX

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
ANSWERS = {0x02: "A-ASSOCIATE-AC", 0x03: "A-ASSOCIATE-RJ", 0x07: "A-ABORT"}


def item(kind, value):
    return struct.pack(">BBH", kind, 0, len(value)) + value


def request(*more_sub_items):
    """An A-ASSOCIATE-RQ PDU (PS3.8 9.3.2) that proposes DX in Implicit VR Little Endian."""
    context = bytes([1, 0, 0, 0]) + item(0x30, DX.encode()) + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"2.25.1") + b"".join(more_sub_items)
    variable = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    body = struct.pack(">HH16s16s32x", 1, 0, b"STORE".ljust(16), b"MODALITY".ljust(16)) + variable
    return struct.pack(">BBI", 1, 0, len(body)) + body


def ask(port, pdu):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(pdu)
        kind = peer.recv(1)[0]
        return ANSWERS.get(kind, hex(kind))


plain, extended = request(), request(item(0x5F, b"new!"))
try:
    A_ASSOCIATE_RQ().decode(extended)
    decoded = "ignored"
except KeyError as exc:
    decoded = repr(exc)
ae = AE("STORE")
ae.add_supported_context(DX)
server = ae.start_server(("127.0.0.1", 0), block=False)
port = server.socket.getsockname()[1]
answers = [ask(port, pdu) for pdu in (plain, extended, plain)]
server.shutdown()

print("pynetdicom", pynetdicom.__version__)
print("the decoder, with sub-item 5FH:", decoded)
print("the server: without it, with it, without it:", answers)
same = decoded == "KeyError(95)" and answers == ["A-ASSOCIATE-AC", "A-ABORT", "A-ASSOCIATE-AC"]
sys.exit(0 if same else "the behaviour has changed")
PY
