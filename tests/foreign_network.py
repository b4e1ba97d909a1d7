"""A small classifier of somebody else, as the files in which such networks come."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """Somebody else's classifier of three channels in 0..255."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 4, 3, 2)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.relu(self.conv(x / 255)).mean(dim=(2, 3)))
        return out


def written(kind: str, path: Path, batch: bool = True) -> Path:
    """The network as TorchScript or ONNX."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both ways are said to be old
        if kind == "torchscript":
            torch.jit.save(torch.jit.trace(Tiny().eval(), torch.rand(2, 3, 32, 32)), str(path))
        else:
            free = {"x": {0: "n"}, "y": {0: "n"}} if batch else {}
            torch.onnx.export(
                Tiny().eval(),
                (torch.rand(1, 3, 32, 32),),
                str(path),
                input_names=["x"],
                output_names=["y"],
                dynamic_axes=free,
                dynamo=False,
            )
    return path
