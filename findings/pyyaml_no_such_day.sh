#!/usr/bin/env bash
# PyYAML 6.0.3: safe_load of a text that is well-formed YAML and holds a date that is none, or a scalar with a tag.
#
# Its documentation names YAMLError as what the parser raises on an error.
#
# Expected: YAMLError with the line, as for a missing bracket; or a string, as for other values that look like no date.
# Seen: `expires: 2026-02-30` raises ValueError "day is out of range for month", with no line and no key; `!!bool maybe` raises
# KeyError, `!!timestamp today` AttributeError and `!!int many` ValueError. All pass `except yaml.YAMLError`. The same day with
# a blank in it, or of one digit too many, is a plain string.
#
# Why it matters: settings and policies are read with `except yaml.YAMLError` around safe_load. One day mistyped gives a
# traceback from inside the library in place of "line 3 of the policy"; the file may be long.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pyyaml==6.0.3"
cd "$work"
venv/bin/python - <<'PY'
import sys

import yaml

SEEN = {
    "expires: [2026-02-28": "ParserError, line 1",
    "expires: 2026-02-30": "ValueError",
    "expires: 2026-11-28 24:00:00": "ValueError",
    "expires: 2026-02-300": "'2026-02-300'",
    "expires: !!timestamp today": "AttributeError",
    "expires: !!bool maybe": "KeyError",
    "expires: !!int many": "ValueError",
}
print("PyYAML", yaml.__version__)
changed = False
for text, seen in SEEN.items():
    try:
        outcome, message = repr(yaml.safe_load(text)["expires"]), ""
    except yaml.YAMLError as exc:
        outcome, message = f"{type(exc).__name__}, line {exc.context_mark.line + 1}", ""
    except Exception as exc:
        outcome, message = type(exc).__name__, str(exc)
    print(f"{text:30} -> {outcome} {message}")
    changed |= outcome != seen
sys.exit("the behaviour has changed" if changed else 0)
PY
