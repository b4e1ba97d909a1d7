#!/usr/bin/env bash
# pydantic 2.14.0: a limit on an optional value, behind a validator that turns an empty text into None.
#
# Expected: the limit holds for the text and lets None pass, as it does without the validator; or, if the type cannot bear the
# limit, an error when the type is built; or a ValidationError.
# Seen: with the BeforeValidator between `str | None` and `Field(max_length=3)`, None raises TypeError out of validation: "Unable to
# apply constraint 'max_length' to supplied value None". The type is built without a word, and a text is checked as usual. Numbers
# with `ge` do so too. With the validator written last, or the limit at the inner `str`, all is well.
#
# Why it matters: TypeError is no ValidationError. Whoever catches the latter, as FastAPI does, answers 500 to the empty field
# of a form, which is the commonest value of an optional field, while each test with a text in it passes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pydantic==2.14.0"
cd "$work"
venv/bin/python - <<'PY'
import sys
from typing import Annotated

import pydantic
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

empty = BeforeValidator(lambda value: None if value == "" else value)
TYPES = {
    "limit alone": Annotated[str | None, Field(max_length=3)],
    "validator, limit": Annotated[str | None, empty, Field(max_length=3)],
    "limit, validator": Annotated[str | None, Field(max_length=3), empty],
    "limit within": Annotated[Annotated[str, Field(max_length=3)] | None, empty],
    "validator, ge": Annotated[int | None, empty, Field(ge=3)],
}
seen = {}
print("pydantic", pydantic.VERSION)
for name, kind in TYPES.items():
    checked = TypeAdapter(kind)
    for value in ("", None) + ((5, 2) if name.endswith("ge") else ("abc", "abcd")):
        try:
            seen[name, value] = repr(checked.validate_python(value))
        except ValidationError:
            seen[name, value] = "ValidationError"
        except TypeError as exc:
            seen[name, value] = f"TypeError: {exc}"
        print(f"{name:17} {value!r:7} {seen[name, value]}")
raised = {key for key, said in seen.items() if said.startswith("TypeError: Unable to apply constraint")}
same = raised == {(name, value) for name in ("validator, limit", "validator, ge") for value in ("", None)}
limits = all(said == "ValidationError" for (_, value), said in seen.items() if value in ("abcd", 2))
sys.exit(0 if same and limits else "the behaviour has changed")
PY
