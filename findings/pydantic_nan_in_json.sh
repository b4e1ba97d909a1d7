#!/usr/bin/env bash
# pydantic 2.14.0: a NaN on its way to JSON and back.
#
# JSON has no NaN. pydantic documents ser_json_inf_nan with "null" as the default, and mode="json" as what holds nothing but
# types that JSON has.
#
# Expected: the two ways to JSON agree, and what a model writes it can read. (Guess before the run: both give null. Wrong.)
# Seen: neither. model_dump_json() writes null, which the same model refuses to read (a float is wanted). model_dump(mode="json")
# leaves the NaN of a float, so json.dumps writes the word NaN; a NaN in an Any becomes None there, too. With
# ser_json_inf_nan="strings" the one writes "NaN" and the other still leaves the float; a NaN in an Any comes back as text. Only
# "constants" goes there and back, and that is no JSON.
#
# Why it matters: a score that could not be computed is stored by one way and breaks the reader of it, and goes out by the
# other way as text that a strict parser, as in a browser, refuses whole.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pydantic==2.14.0" "pydantic-core==2.50.0"
cd "$work"
venv/bin/python - <<'PY'
import json
import math
import sys
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict, ValidationError

print("pydantic", pydantic.VERSION)
NAN, seen = float("nan"), {}


def again(model, text):
    try:
        back = model.model_validate_json(text)
    except ValidationError:
        return "refused"
    right = all(isinstance(value, float) and math.isnan(value) for value in (back.score, back.other))
    return "read back" if right else f"comes back as {back!r}"


for setting in ("null", "strings", "constants"):

    class Film(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan=setting)
        score: float
        other: Any

    film = Film(score=NAN, other=NAN)
    direct, by_mode = film.model_dump_json(), json.dumps(film.model_dump(mode="json"))
    seen[setting] = direct, by_mode, again(Film, direct)
    print(f"{setting:10} model_dump_json: {direct} ({again(Film, direct)}); json.dumps of mode='json': {by_mode}")
expected = {
    "null": ('{"score":null,"other":null}', '{"score": NaN, "other": null}', "refused"),
    "strings": ('{"score":"NaN","other":"NaN"}', '{"score": NaN, "other": NaN}', "comes back as Film(score=nan, other='NaN')"),
    "constants": ('{"score":NaN,"other":NaN}', '{"score": NaN, "other": NaN}', "read back"),
}
sys.exit(0 if seen == expected else "the behaviour has changed")
PY
