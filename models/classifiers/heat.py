"""Where a classifier looked: heat maps, and the box round their hottest part.

`cam` is the quick one (Zhou et al. 2016): where a network ends in a mean and a linear layer, the logit of a
class is the mean over the picture of the feature maps weighted by that class's row, so the weighted sum is
where it came from; the engine puts the maps out with the logits. `grad_cam_pp` is Grad-CAM++ (Chattopadhyay
et al. 2018) by `monai.visualize`, a second look, forwards and backwards. Neither says *why*, and a map of 7 x
7 cells is coarse.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.visualize.class_activation_maps import GradCAMpp
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.classifiers import nets

Heat = NDArray[np.float32]
Part = tuple[float, float, float, float]  # x0, y0, x1, y1 in fractions

HOT = 0.5  # of the maximum: what counts as the hottest part
GRID = 64  # px: the hottest part is sought on a grid of this side at most
LAST_MAPS = {
    nets.DenseNet: "body",
    nets.Lite: "last",
    nets.Small: "body",
}  # the layer whose output is looked at


def cam(maps: NDArray[np.float32], weights: NDArray[np.float32], px: int) -> Heat | None:
    """Maps (F, h, w) and a class's row of the last layer (F,) -> what spoke for it, (px, px) in [0, 1].

    None where nothing did: the whole picture spoke against it.
    """
    evidence = torch.from_numpy(np.tensordot(weights, maps, axes=1).astype(np.float32))
    return _normalised(_wide(evidence, px))


def grad_cam_pp(net: nn.Module, film: Tensor, which: int) -> Heat | None:
    """Grad-CAM++ of one film (1, 1, px, px) for the class number `which`, (px, px) in [0, 1]."""
    layer = next(name for kind, name in LAST_MAPS.items() if isinstance(net, kind))
    look = GradCAMpp(nn_module=net, target_layers=layer, upsampler=_no_upsampler, postprocessing=_as_it_is)
    with torch.enable_grad():
        out = look(film.detach().clone().requires_grad_(True), class_idx=which)
    return _normalised(_wide(torch.as_tensor(out)[0, 0].detach().float(), film.shape[-1]))


def region_of(heat: Heat, hot: float = HOT) -> Part:
    """The box round the hottest part: what has at least `hot` of the maximum and hangs together with it."""
    step = max(1, -(-max(heat.shape) // GRID))
    coarse = heat[step // 2 :: step, step // 2 :: step]
    mask = coarse >= hot * coarse.max()
    part = _piece(mask, int(coarse.argmax()))
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    high, wide = part.shape
    return (
        float(columns[0] / wide),
        float(rows[0] / high),
        float((columns[-1] + 1) / wide),
        float((rows[-1] + 1) / high),
    )


def _piece(mask: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """The part of the mask that hangs together with the cell number `start`, also over corners."""
    cells = torch.from_numpy(mask)[None, None].float()
    grown = torch.zeros_like(cells)
    grown.view(-1)[start] = 1.0
    before = torch.zeros_like(grown)
    while not torch.equal(grown, before):
        before, grown = grown, functional.max_pool2d(grown, 3, stride=1, padding=1) * cells
    out: NDArray[np.bool_] = grown[0, 0].numpy() > 0
    return out


def _wide(coarse: Tensor, px: int) -> Tensor:
    return functional.interpolate(coarse[None, None], size=(px, px), mode="bilinear", align_corners=False)[
        0, 0
    ]


def _normalised(evidence: Tensor) -> Heat | None:
    heat = evidence.clamp(min=0.0)
    most = float(heat.max())
    if not (np.isfinite(most) and most > 0.0):
        return None
    out: Heat = (heat / most).numpy().astype(np.float32)
    return out


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _no_upsampler(size: object) -> Callable[[Tensor], Tensor]:  # noqa: ARG001 - MONAI asks for one by size
    return _as_it_is
