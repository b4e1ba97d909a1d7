#!/usr/bin/env bash
# fhir.resources 8.3.0 with fhir-core 1.1.12 and pydantic 2.14.0: the digits of a measured value.
#
# FHIR's decimal carries its precision: 1.10 is another statement than 1.1, and binary floating point is not to be used for it.
#
# Expected: a Quantity that is read and written again has the same digits; the field is a Decimal. (Guess before the run: the
# last zeros are lost. Right, and digits in the middle too.)
# Seen: 1.10 is read as Decimal('1.1'), and 20 digits behind the point as 16: JSON goes through a float first. A Quantity made
# from Decimal('1.10') holds it and writes 1.1 all the same; 100.00 becomes 100.0. Whole numbers keep all their digits. There
# is no warning.
#
# Why it matters: a spacing or a score that is passed on has lost the precision that it was measured with, and a signature or a
# digest over the resource no longer fits.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "fhir.resources==8.3.0" "fhir-core==1.1.12" "pydantic==2.14.0" \
  "pydantic-core==2.50.0"
cd "$work"
venv/bin/python - <<'PY'
import re
import sys
from decimal import Decimal

import fhir.resources
from fhir.resources.quantity import Quantity

print("fhir.resources", fhir.resources.__version__)


def digits(quantity):
    return re.search(r"[0-9.]+", quantity.model_dump_json())[0]


seen = {}
for text in ("1.1", "1.10", "100.00", "0.12345678901234567890", "12345678901234567890"):
    read, made = Quantity.model_validate_json('{"value":%s}' % text), Quantity(value=Decimal(text))
    seen[text] = str(read.value), digits(read), str(made.value), digits(made)
    print(f"{text}: read {read.value!r}, written {digits(read)}; made {made.value!r}, written {digits(made)}")
expected = {
    "1.1": ("1.1", "1.1", "1.1", "1.1"),
    "1.10": ("1.1", "1.1", "1.10", "1.1"),
    "100.00": ("100.0", "100.0", "100.00", "100.0"),
    "0.12345678901234567890": ("0.12345678901234568",) * 2 + ("0.12345678901234567890", "0.12345678901234568"),
    "12345678901234567890": ("12345678901234567890",) * 4,
}
sys.exit(0 if seen == expected else "the behaviour has changed")
PY
