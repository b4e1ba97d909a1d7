"""The network of a gate for another region: does the film show it, and where, in one look."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn

from models.graphs import GRID, REGION_OUTPUTS, REGION_WIDTHS, USUAL

RARE = -3.0  # log-odds of a centre before any training: most cells have none (Lin et al. 2017)


class RegionNet(nn.Module):
    """A film (B, 1, 128, 128) in [0, 1] -> (B, 6, GRID, GRID), the maps named in REGION_OUTPUTS.

    `region`: log-odds that the film shows the region, the same in every cell. `centre`: log-odds that an
    object has its centre in this cell (Zhou et al. 2019). The others: how far from the middle of the cell
    the object's box reaches, in fractions of the film (Tian et al. 2019).
    """

    def __init__(
        self, outputs: int = len(REGION_OUTPUTS), widths: tuple[int, int, int, int] = REGION_WIDTHS
    ) -> None:
        super().__init__()
        if outputs != len(REGION_OUTPUTS):
            raise ValueError(f"RegionNet has {len(REGION_OUTPUTS)} outputs, not {outputs}")
        fine, middle, coarse = widths[1:]
        self.stem = nn.Sequential(
            _conv(1, widths[0], stride=2), _conv(widths[0], fine, stride=2), _Residual(fine)
        )
        self.middle = nn.Sequential(_conv(fine, middle, stride=2), _Residual(middle))
        self.coarse = nn.Sequential(_conv(middle, coarse, stride=2), _Residual(coarse), _Residual(coarse))
        self.from_coarse, self.up_middle = nn.Conv2d(coarse, middle, 1), _conv(middle, middle)
        self.from_middle, self.up_fine = nn.Conv2d(middle, fine, 1), _conv(fine, fine)
        self.maps = nn.Conv2d(fine, len(REGION_OUTPUTS) - 1, 1)
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


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _conv(before: int, after: int, stride: int = 1, relu: bool = True) -> Convolution:
    return Convolution(
        2, before, after, strides=stride, norm="batch", act="relu" if relu else None, bias=False
    )
