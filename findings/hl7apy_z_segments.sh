#!/usr/bin/env bash
# hl7apy 1.3.5: a message with a Z segment.
#
# HL7 v2 (chapter 2, local extension) lets two parties agree on segments whose names begin with Z. IHE does: RAD-4, the order
# that a radiology department schedules, brings the Study Instance UID in ZDS-1.
#
# Expected: parse_message keeps ZDS, wherever in the tree; what is written again is what was read. hl7apy knows Z segments: one
# can be made with it, and its own way to read a message flat keeps them.
# Seen: by default parse_message leaves ZDS out, without an error or a warning, in ORM^O01, ORU^R01 and ADT^A01 alike; so does
# the text written again. With a Z segment behind PID a result falls into two groups: the patient in one, what was found in the
# other. `find_groups=False` keeps all. A version that has no such message (ORM^O01 in 2.8) is read flat and keeps it too.
#
# Why it matters: the modality's work list is made from these orders. A program in between that reads and passes on the order
# with hl7apy takes the UID out, the modality makes up one of its own, and film and order never find each other.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "hl7apy==1.3.5"
cd "$work"
venv/bin/python -W always - <<'PY'
import sys
from importlib.metadata import version

from hl7apy.parser import parse_message

HEAD = "MSH|^~\\&|RIS|A|GW|B|202611281200||{}|1|P|2.3.1"
ZDS = "ZDS|2.25.1^H^Application^DICOM"
MESSAGES = {
    "ORM^O01": (HEAD.format("ORM^O01"), "PID|1||P1", "PV1|1|O", "ORC|NW|1|2", "OBR|1|1|2|DX^Chest", ZDS),
    "ORU^R01": (HEAD.format("ORU^R01"), "PID|1||P1", "ORC|RE|1|2", "OBR|1|1|2|DX^Chest", "OBX|1|ST|1^X||clear||||||F", ZDS),
    "ADT^A01": (HEAD.format("ADT^A01"), "EVN|A01|202611281200", "PID|1||P1", "PV1|1|O", ZDS),
}
print("hl7apy", version("hl7apy"))
lost, flat = [], []
for name, segments in MESSAGES.items():
    read = "\r".join(segments) + "\r"
    for grouped in (True, False):
        written = parse_message(read, find_groups=grouped).to_er7().strip().split("\r")
        print(f"{name} find_groups={grouped!s:5}", [segment[:3] for segment in written])
        kept = [segment[:3] for segment in segments if segment in written]
        (lost if grouped else flat).append(sorted({segment[:3] for segment in segments} - set(kept)))
groups = {}
for z in ((), ("ZPI|1",)):
    message = "\r".join(MESSAGES["ORU^R01"][:2] + z + MESSAGES["ORU^R01"][2:5])
    groups[z] = [[child.name for child in group.children] for group in parse_message(message).children[1:]]
    print(f"ORU^R01 with {z} behind PID:", groups[z])
newer = parse_message("\r".join(MESSAGES["ORM^O01"]).replace("|2.3.1", "|2.8")).to_er7()
print("ORM^O01 in 2.8:", [segment[:3] for segment in newer.strip().split("\r")])
same = lost == [["ZDS"]] * 3 and flat == [[]] * 3 and [len(found) for found in groups.values()] == [1, 2] and ZDS in newer
sys.exit(0 if same else "the behaviour has changed")
PY
