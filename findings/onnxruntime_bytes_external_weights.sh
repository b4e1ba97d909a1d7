#!/usr/bin/env bash
# ONNX Runtime 1.32.0: a session made from the bytes of a model whose weights lie in a file beside it (external data).
#
# The ONNX format says that such a location is relative to the folder of the model. Bytes have no folder.
#
# Expected: a session from bytes refuses the model, and asks for the weights or for a path.
# Seen: it takes the weights from the working directory of the process. The same bytes give 36 in one folder and 72 in another,
# without a warning. A small weight (2 x 2) is refused as expected, so that a test with a toy network passes.
#
# Why it matters: a service that keeps and checks a classifier as bytes believes that the bytes are the classifier. After a
# change of the working directory, or with two versions side by side, it reads radiographs with other weights than it checked.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "onnxruntime==1.32.0" "onnx==1.23.2" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import os
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

WORK = pathlib.Path.cwd()


def model(side):
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[side, side], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(4 * side * side))):
        weight.external_data.add(key=key, value=value)
    film, reading = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in ("film", "reading"))
    graph = helper.make_graph([helper.make_node("MatMul", ["film", "weight"], ["reading"])], "net", [film], [reading], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def read(code, side):
    try:
        session = onnxruntime.InferenceSession(code, providers=["CPUExecutionProvider"])
    except Exception as exc:  # the package's own classes have no common base that it exports
        return "refused: " + str(exc).strip().split(". ")[-2][-60:]
    return float(session.run(None, {"film": np.ones((side, side), np.float32)})[0].sum() / side)


onnxruntime.set_default_logger_severity(4)
print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
seen = {}
for side in (2, 6):
    code = model(side)
    for number, folder in enumerate(("monday", "tuesday"), start=1):
        (WORK / folder).mkdir(exist_ok=True)
        np.full((side, side), number, np.float32).tofile(WORK / folder / "weights.bin")
        os.chdir(WORK / folder)
        seen[side, folder] = read(code, side)
        print(f"weight {side} x {side}, the same {len(code)} bytes, working directory {folder:7}:", seen[side, folder])
small = all(str(seen[2, folder]).startswith("refused") for folder in ("monday", "tuesday"))
same = small and seen[6, "monday"] == 36 and seen[6, "tuesday"] == 72
sys.exit(0 if same else "the behaviour has changed")
PY
