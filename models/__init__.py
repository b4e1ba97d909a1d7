"""Networks, their training and their bundles: torch and MONAI only, no gateway."""

import os

# ONNX Runtime's builds tell Microsoft of every process that loads them, from the import on, and keep a file
# for that at home (Privacy.md in its wheel). Machines with films on them tell nobody. Its
# `disable_telemetry_events` comes too late; this is read when it is loaded, by us or by MONAI.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
