"""The network of a gate for another region: does the film show it, and where, in one look."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn

OUTPUTS = ("region", "centre", "left", "top", "right", "bottom")
GRID = 32  # cells a side of the map: a quarter of the input
WIDTHS = (12, 20, 32, 56)  # 0.17 M parameters
USUAL = 0.12  # of the film's side: half a usual box, where the sizes begin
RARE = -3.0  # log-odds of a centre before any training: most cells have none (Lin et al. 2017)
OVERLAP = 0.3  # two boxes that share more (intersection over union) are the same object


class RegionNet(nn.Module):
    """A film (B, 1, 128, 128) in [0, 1] -> (B, 6, GRID, GRID), the maps named in OUTPUTS.

    `region`: log-odds that the film shows the region, the same in every cell. `centre`: log-odds that an
    object has its centre in this cell (Zhou et al. 2019). The others: how far from the middle of the cell
    the object's box reaches, in fractions of the film (Tian et al. 2019).
    """

    def __init__(self, outputs: int = len(OUTPUTS), widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        if outputs != len(OUTPUTS):
            raise ValueError(f"RegionNet has {len(OUTPUTS)} outputs, not {outputs}")
        fine, middle, coarse = widths[1:]
        self.stem = nn.Sequential(
            _conv(1, widths[0], stride=2), _conv(widths[0], fine, stride=2), _Residual(fine)
        )
        self.middle = nn.Sequential(_conv(fine, middle, stride=2), _Residual(middle))
        self.coarse = nn.Sequential(_conv(middle, coarse, stride=2), _Residual(coarse), _Residual(coarse))
        self.from_coarse, self.up_middle = nn.Conv2d(coarse, middle, 1), _conv(middle, middle)
        self.from_middle, self.up_fine = nn.Conv2d(middle, fine, 1), _conv(fine, fine)
        self.maps = nn.Conv2d(fine, len(OUTPUTS) - 1, 1)
        nn.init.constant_(self.maps.bias, RARE)  # type: ignore[arg-type]
        nn.init.zeros_(self.maps.bias[1:])  # type: ignore[index]
        self.region = nn.Linear(2 * coarse, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.stem(x * 2 - 1)  # (B, fine, 32, 32)
        middle = self.middle(fine)  # (B, middle, 16, 16)
        coarse = self.coarse(middle)  # (B, coarse, 8, 8)
        whole = torch.cat([coarse.mean(dim=(2, 3)), coarse.amax(dim=(2, 3))], dim=1)
        region = self.region(whole)[:, :, None, None].expand(-1, 1, GRID, GRID)
        up = self.up_middle(middle + _twice(self.from_coarse(coarse)))  # (B, middle, 16, 16)
        maps = self.maps(self.up_fine(fine + _twice(self.from_middle(up))))  # (B, 5, 32, 32)
        centre, reach = maps[:, :1], USUAL * maps[:, 1:].clamp(-4, 2).exp()
        return torch.cat([region, centre, reach], dim=1)


class _Residual(nn.Module):
    """Two 3x3 convolutions round a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


def middles() -> Tensor:
    """The middle of each cell in fractions of the film, x and y, (2, GRID, GRID)."""
    line = (torch.arange(GRID) + 0.5) / GRID
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))


def boxes_of(reach: Tensor) -> Tensor:
    """How far each cell reaches left, up, right, down (..., 4, GRID, GRID) -> its box x0, y0, x1, y1."""
    middle = middles().to(reach.device)
    return torch.cat([middle - reach[..., :2, :, :], middle + reach[..., 2:, :, :]], dim=-3)


def objects(maps: Tensor, least: float, most: int) -> Tensor:
    """The objects in one film's maps (6, GRID, GRID) -> (n, 5), n <= most: x0, y0, x1, y1, probability.

    A peak of `centre` of probability `least` or more is an object; its box is the mean of those of the cells
    round the peak, weighted by their probabilities. The surest comes first; boxes are cut to the film.
    """
    sure = maps[1].sigmoid()
    peaks = (sure == F.max_pool2d(sure[None], 3, stride=1, padding=1)[0]) & (sure >= least)
    cells = peaks.nonzero()[sure[peaks].argsort(descending=True)]
    boxes = boxes_of(maps[2:])
    found: list[Tensor] = []
    for y, x in cells.tolist():
        near = (slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2))
        weight = sure[near] / sure[near].sum()
        box = (boxes[:, *near] * weight).sum(dim=(1, 2)).clamp(0, 1)
        if all(float(overlap(box, other[:4])) <= OVERLAP for other in found):
            found.append(torch.cat([box, sure[y, x][None]]))
        if len(found) == most:
            break
    return torch.stack(found) if found else torch.zeros(0, 5)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4), x0, y0, x1, y1."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    both = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(dim=-1) for box in (one, other)]
    return both / (areas[0] + areas[1] - both).clamp(min=1e-9)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _conv(before: int, after: int, stride: int = 1, relu: bool = True) -> Convolution:
    return Convolution(
        2, before, after, strides=stride, norm="batch", act="relu" if relu else None, bias=False
    )
