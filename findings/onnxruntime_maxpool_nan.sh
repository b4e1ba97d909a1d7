#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on a CPU (model by onnx 1.23.2): what becomes of a NaN on its way through a model.
#
# Expected: a NaN in the film is a NaN in all that it takes part in, as with Relu, Softmax and averages here, and as with
# NumPy's max. (Guess before the run: Relu and MaxPool lose it, ReduceMax keeps it. Wrong for Relu and for ReduceMax.)
# Seen: where it stands decides. MaxPool and GlobalMaxPool of four pixels lose it in the first place, so that the maximum of the
# others comes out, a number like any other, and keep it in the last. ReduceMax over the very same pixels does it the other way
# round. (x86-64; what is checked is that each loses it in some place.)
#
# Why it matters: "a broken film gives NaN at the end, so look there" holds for one network and not for the next. Behind a
# MaxPool the score of a film with NaN looks healthy; the check belongs before the model.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "onnxruntime==1.32.0" "onnx==1.23.2" "numpy==2.4.6"
cd "$work"
export HOME=$work
ORT_DISABLE_TELEMETRY=1 venv/bin/python - <<'PY'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

print("onnxruntime", onnxruntime.__version__)


def run(film, op, **attributes):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", film.shape), ("y", None))]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], **attributes)], "one", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": film})[0].ravel()


def with_nan(at):
    film = np.ones((1, 1, 2, 2), np.float32)
    film.reshape(-1)[at] = np.nan
    return film


lost = {}
for op, attributes in {
    "Relu": {},
    "Softmax": {"axis": 3},
    "GlobalAveragePool": {},
    "ReduceMax": {"axes": [2, 3]},
    "GlobalMaxPool": {},
    "MaxPool": {"kernel_shape": [2, 2]},
}.items():
    out = [run(with_nan(at), op, **attributes) for at in range(4)]
    lost[op] = any(not np.isnan(values).any() for values in out)
    print(f"{op:18} NaN in the first pixel: {out[0]}, in the last: {out[3]}")
expected = dict.fromkeys(("Relu", "Softmax", "GlobalAveragePool"), False)
expected |= dict.fromkeys(("ReduceMax", "GlobalMaxPool", "MaxPool"), True)
sys.exit(0 if lost == expected else "the behaviour has changed")
PY
