#!/usr/bin/env bash
# ONNX Runtime 1.32.0 for Linux: what an import alone leaves behind. No model is loaded and nothing is run.
#
# Expected: nothing. A library that reads films in a hospital opens no file in the user's home and asks no name
# server; telemetry, where a build has it, waits for a session or for somebody to switch it on.
# Seen: `import onnxruntime` writes ~/.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid (a number for this
# user and machine) and a queue of events beside it, onnxruntime.db. disable_telemetry_events() right after the
# import comes too late for both. With ORT_DISABLE_TELEMETRY=1 in the environment neither is made.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0

left() { # what a program leaves in a home of its own
  local home
  home=$(mktemp -d -p "$folder")
  env HOME="$home" XDG_CACHE_HOME="$home/.cache" "${@:2}" "$folder/venv/bin/python" -c "$1"
  (cd "$home" && find . -type f -name '*device*' -o -type f -name '*.db' | sort)
}

plain=$(left 'import onnxruntime; print(onnxruntime.__version__)')
late=$(left 'import onnxruntime; onnxruntime.disable_telemetry_events()')
off=$(left 'import onnxruntime' ORT_DISABLE_TELEMETRY=1)
printf 'import alone:\n%s\n' "$plain"
printf 'switched off after the import:\n%s\n' "$late"
printf 'ORT_DISABLE_TELEMETRY=1:\n%s\n' "${off:-nothing}"
grep -q deviceid <<<"$plain" && grep -q deviceid <<<"$late" && [ -z "$off" ]
