#!/usr/bin/env bash
# PyTorch 2.13.0 (the build for CPUs): AveragedModel(use_buffers=True) and buffers that are no floats.
#
# The average of a thing that never changes is that thing.
#
# Expected: a table of whole numbers that training leaves alone stays as it is, and a mask of true and false too. (Guess before
# the run: some numbers of the table fall by one with each update. Half right: they fall by one and stay there.)
# Seen: the moving average is computed in floats and cut, not rounded: with a decay of 0.9 about a quarter of the numbers below
# 5000, beginning with 3, are one less after the second update, with 0.9999 about a fifth, with 0.99 and 0.999 none. The
# counter of a batch normalisation stays at 1 with 0.999 whatever is trained. The first update copies and is always right. With
# the plain average a mask works once and raises RuntimeError at the second update.
#
# Why it matters: a list of label numbers that is kept as a buffer is wrong in the averaged model, which is the one that is
# exported; and a test of one update passes. (200 MB to load where TORCH_INDEX names an
# index with the build for CPUs; up to three minutes.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --retries 1 ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "torch==2.13.0" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
import sys

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

print("torch", torch.__version__)


class Net(torch.nn.Module):
    def __init__(self, buffer):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.counter = torch.nn.BatchNorm1d(1)
        self.register_buffer("table", buffer)


def fallen(decay, updates):
    """How many of the numbers of a table that never changes differ in the average, and its counter of batches."""
    net = Net(torch.arange(5000))
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    for _ in range(updates):
        net.counter.num_batches_tracked += 1
        average.update_parameters(net)
    less = net.table - average.module.table
    assert set(less.tolist()) <= {0, 1}
    return int(less.sum()), int(average.module.counter.num_batches_tracked)


def mask():
    average, done = AveragedModel(net := Net(torch.tensor([True, False])), use_buffers=True), 0
    try:
        for done in range(3):
            average.update_parameters(net)
    except RuntimeError:
        return done
    return "never"


seen = {}
for decay in (0.9, 0.99, 0.999, 0.9999):
    seen[decay] = [fallen(decay, updates) for updates in (1, 2, 300)]
    print(f"decay {decay}: (numbers that fell by one of 5000, counter of batches) after 1, 2 and 300 updates: {seen[decay]}")
print(f"a mask in the plain average: updates before it raises RuntimeError: {mask()}")
fell = {decay: [numbers > 0 for numbers, _ in three] for decay, three in seen.items()}
same = fell == {0.9: [False, True, True], 0.99: [False] * 3, 0.999: [False] * 3, 0.9999: [False, True, True]}
sys.exit(0 if same and seen[0.999][2][1] == 1 and mask() == 1 else "the behaviour has changed")
PY
