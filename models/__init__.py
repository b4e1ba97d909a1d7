"""Networks, their training and their bundles: torch and MONAI only, no gateway."""

import os

# ONNX Runtime 1.29 and later report each process and model to their maker from the moment they are imported;
# only this, set before, keeps them from it. Nothing leaves this machine but what the settings send.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
