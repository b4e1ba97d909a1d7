"""What films of other sites may look like: random geometry, grey curves, borders, markers, and junk.

These are batched torch operations with one random parameter a film. The MONAI transforms of the same
names work film by film; on two cores they took longer than the network itself, so they stay in the input
chain (pipelines.transforms), where one film at a time is what we want.
Every film of a batch goes through one and the same resampling, whatever its class, so that no class
betrays itself by its pixel grid. Shapes: films (B, H, W) float32 in [0, 1]; parameters (B,).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

TILT_DEG = 12.0  # patients lean; beyond some 20 degrees it is a turn that a person should see
SHIFT = 0.12  # of the film's side
SQUASH = 0.18  # sites differ in aspect ratio, and the input chain squashes
MARKER_TEXTS = (
    "L",
    "R",
    "PA",
    "AP",
    "L PA",
    "R AP",
    "PORTABLE",
    "ERECT",
    "SUPINE",
    "12:40",
    "AP SEMI",
    "PA 3/7",
    "H. M.",
)
MARKER_SHEETS = 96  # different sheets of markers, flipped and turned at random: enough not to be learned


class Dice:
    """Random parameters for one batch, all from one generator, so that a run can be repeated."""

    def __init__(self, size: int, generator: Generator) -> None:
        self.size, self.generator = size, generator

    def between(self, low: float, high: float) -> Tensor:
        """Uniform in [low, high), (B,)."""
        return torch.rand(self.size, generator=self.generator) * (high - low) + low

    def chance(self, p: float) -> Tensor:
        """True with probability p, (B,)."""
        return torch.rand(self.size, generator=self.generator) < p

    def choice(self, n: int) -> Tensor:
        """Integers in [0, n), (B,)."""
        return torch.randint(n, (self.size,), generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, (B, *shape)."""
        return torch.randn(self.size, *shape, generator=self.generator)


def turned(films: Tensor, quarters: Tensor) -> Tensor:
    """Each square film turned clockwise by its number of quarter turns."""
    out = films.clone()
    for k in (1, 2, 3):
        out[quarters == k] = torch.rot90(films[quarters == k], -k, dims=(-2, -1))
    return out


def flipped(films: Tensor, which: Tensor) -> Tensor:
    """The films for which `which` is true, mirrored left to right."""
    return torch.where(which[:, None, None], films.flip(-1), films)


def inverted(films: Tensor, which: Tensor) -> Tensor:
    """The films for which `which` is true, black and white exchanged."""
    return torch.where(which[:, None, None], 1 - films, films)


def placement(
    dice: Dice,
    zoom: Tensor,
    tilt_deg: float = TILT_DEG,
    tilt: Tensor | None = None,
    zoom_y: Tensor | None = None,
) -> Tensor:
    """Random squash and shift and the given magnification (B,) -> sampling grids' matrices (B, 2, 3).

    The tilt (B,) in degrees clockwise is drawn up to `tilt_deg` unless given; `zoom_y` is the
    magnification from top to bottom when it is another.
    """
    if tilt is None:
        tilt = dice.between(-tilt_deg, tilt_deg)
    angle = -tilt * (math.pi / 180)  # a grid says where each pixel comes from
    squash = torch.exp(dice.between(-SQUASH, SQUASH))
    zoom_y = zoom if zoom_y is None else zoom_y
    scale_x, scale_y = squash / zoom, 1 / (squash * zoom_y)
    shift_x, shift_y = (
        dice.between(-1, 1) * (SHIFT + (1 - 1 / z).clamp(min=0))  # a close-up may show any part of the film
        for z in (zoom, zoom_y)
    )
    row_x = torch.stack([scale_x * angle.cos(), -scale_y * angle.sin(), shift_x], dim=1)
    row_y = torch.stack([scale_x * angle.sin(), scale_y * angle.cos(), shift_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def placed(films: Tensor, matrices: Tensor, fill: Tensor, size: int) -> Tensor:
    """Films resampled to (B, size, size); what lies outside of a film is its `fill` (B,)."""
    grid = F.affine_grid(matrices, [len(films), 1, size, size], align_corners=False)
    level = fill[:, None, None, None]
    out = F.grid_sample(films[:, None] - level, grid, mode="bilinear", align_corners=False) + level
    return out[:, 0]


def surround(dice: Dice) -> Tensor:
    """What lies round a film: mostly black, now and then white or grey, (B,)."""
    kind = dice.between(0, 1)
    grey = dice.between(0, 1)
    return torch.where(
        kind < 0.6, torch.zeros_like(grey), torch.where(kind < 0.8, torch.ones_like(grey), grey)
    )


def toned(films: Tensor, dice: Dice) -> Tensor:
    """Other grey curves, all rising: windows that clip, gamma, an S-curve, shading, local equalisation."""
    low, high = dice.between(-0.15, 0.15), dice.between(0.8, 1.15)
    x = ((films - _each(low)) / _each(high - low)).clamp(1e-4, 1)
    x = x ** _each(torch.exp(dice.between(-0.5, 0.5)))
    steep = dice.between(3, 8)
    curve = torch.sigmoid((x - _each(dice.between(0.35, 0.65))) * _each(steep))
    x = torch.where(_each(dice.chance(0.3)), curve, x)
    size = films.shape[-1]
    slope = torch.linspace(-1, 1, size)
    shade = (
        _each(dice.normal() * 0.15) * slope[None, :, None]
        + _each(dice.normal() * 0.15) * slope[None, None, :]
    )
    x = torch.where(_each(dice.chance(0.3)), x + shade, x)
    wide = _smooth(x, cells=6)
    equalised = x - _each(dice.between(0.2, 0.8)) * (wide - wide.mean(dim=(1, 2), keepdim=True))
    return torch.where(_each(dice.chance(0.25)), equalised, x).clamp(0, 1)


def degraded(films: Tensor, dice: Dice) -> Tensor:
    """Blur, a coarser pixel grid, and noise."""
    x = films[:, None]
    blurred = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    size = films.shape[-1]
    coarse = F.interpolate(
        F.interpolate(x, scale_factor=0.5, mode="area"), size=(size, size), mode="bilinear"
    )
    kind = dice.between(0, 1)[:, None, None, None]
    x = torch.where(kind < 0.2, blurred, torch.where(kind > 0.85, coarse, x))[:, 0]
    amount = dice.between(0, 0.06) * dice.chance(0.5)
    return (x + _each(amount) * dice.normal(size, size)).clamp(0, 1)


def bordered(films: Tensor, dice: Dice, p: float = 0.3, widest: float = 0.16) -> Tensor:
    """Collimator bars on random sides, black, white or grey."""
    size = films.shape[-1]
    ramp = torch.arange(size)
    bars = torch.zeros(films.shape, dtype=torch.bool)
    for axis in (1, 2):
        near = (dice.between(0, widest) * dice.chance(0.5) * size)[:, None]
        far = size - (dice.between(0, widest) * dice.chance(0.5) * size)[:, None]
        outside = (ramp[None] < near) | (ramp[None] >= far)
        bars |= outside[:, :, None] if axis == 1 else outside[:, None, :]
    return torch.where(bars & _each(dice.chance(p)), _each(surround(dice)), films)


def erased(films: Tensor, dice: Dice, p: float = 0.4, times: int = 2) -> Tensor:
    """Small patches, mostly near the edge where L and R stand, painted over with the film's own grey."""
    size = films.shape[-1]
    ramp = torch.arange(size)[None]
    wide = _smooth(films, cells=16)
    x = films
    for _ in range(times):
        side = dice.between(0.05, 0.2) * size
        centres = [dice.between(0, 1), dice.between(0, 1)]
        edge = dice.choice(4)
        centres[0] = torch.where(edge == 0, 0.08, torch.where(edge == 1, 0.92, centres[0])) * size
        centres[1] = torch.where(edge == 2, 0.08, torch.where(edge == 3, 0.92, centres[1])) * size
        inside = [(ramp - c[:, None]).abs() < side[:, None] / 2 for c in centres]
        patch = inside[0][:, :, None] & inside[1][:, None, :] & _each(dice.chance(p))
        x = torch.where(patch, wide, x)
    return x


def marker_sheets(size: int, generator: Generator) -> Tensor:
    """Sheets of random letters, numbers and lines to paste on films, (MARKER_SHEETS, size, size) bool."""
    sheets = torch.zeros(MARKER_SHEETS, size, size, dtype=torch.bool)
    for n in range(MARKER_SHEETS):
        sheet = Image.new("L", (size, size))
        pen = ImageDraw.Draw(sheet)
        for _ in range(_pick(3, generator) + 1):
            text = MARKER_TEXTS[_pick(len(MARKER_TEXTS), generator)]
            at = (_pick(size - 8, generator), _pick(size - 8, generator))
            pen.text(at, text, fill=255, font=ImageFont.load_default(6 + _pick(12, generator)))
        if _pick(4, generator) == 0:
            ends = [(_pick(size, generator), _pick(size, generator)) for _ in range(2)]
            pen.line(ends, fill=255, width=1 + _pick(2, generator))
        sheets[n] = torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8).view(size, size) > 127
    return sheets


def marked(films: Tensor, sheets: Tensor, dice: Dice, p: float = 0.35) -> Tensor:
    """Letters and lines pasted on, turned and flipped at random, bright or dark."""
    chosen = turned(flipped(sheets[dice.choice(len(sheets))], dice.chance(0.5)), dice.choice(4))
    level = torch.where(dice.chance(0.75), dice.between(0.8, 1), dice.between(0, 0.3))
    return torch.where(chosen & _each(dice.chance(p)), _each(level), films)


def shuffled(films: Tensor, dice: Dice, tiles: int = 4) -> Tensor:
    """Films cut into tiles and put together wrongly: the greys of a film without its anatomy."""
    side = films.shape[-1] // tiles
    cut = films.unfold(1, side, side).unfold(2, side, side).reshape(len(films), tiles * tiles, side, side)
    order = torch.rand(len(films), tiles * tiles, generator=dice.generator).argsort(dim=1)
    cut = cut.gather(1, order[:, :, None, None].expand_as(cut)).reshape(len(films), tiles, tiles, side, side)
    return cut.permute(0, 1, 3, 2, 4).reshape(len(films), tiles * side, tiles * side)


def with_room(
    films: Tensor, masks: Tensor, dice: Dice, p: float = 0.6, below: float = 0.4, above: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Films and lung masks (B, S, S) with more belly below the lungs and more neck above them.

    Some sites collimate to the lungs, others show the belly too, and a network that saw only the first
    takes whatever lies at the bottom for lung. What lies outside of the lungs is drawn out to up to `below`
    and `above` of the height, and gas and folds are put into the belly.
    """
    size = films.shape[-1]
    rows = torch.arange(size) / size
    lit = (masks > 0.5).any(dim=2)  # (B, S)
    first = torch.where(lit, rows, 1.0).amin(dim=1)
    last = torch.where(lit, rows, 0.0).amax(dim=1) + 1 / size
    start = (first - 0.02).clamp(0.0, 0.05)  # of the film: what is drawn out lies above this row ...
    end = (last + 0.02).clamp(0.93, 0.985)  # ... and below this one
    which = lit.any(dim=1) & dice.chance(p)
    top = torch.where(which, dice.between(0, above), start)
    bottom = 1 - torch.where(which, dice.between(0.02, below), 1 - end)
    y = rows[None].expand(len(films), -1)
    start, end, top, bottom = (v[:, None] for v in (start, end, top, bottom))
    middle = start + (y - top) / (bottom - top) * (end - start)
    upper, lower = y / top.clamp(min=1e-3) * start, end + (y - bottom) / (1 - bottom) * (1 - end)
    source = torch.where(y < top, upper, torch.where(y > bottom, lower, middle)) * 2 - 1
    across = torch.linspace(-1, 1, size)[None, None, :].expand(len(films), size, -1)
    grid = torch.stack([across, source[:, :, None].expand(-1, -1, size)], dim=-1)
    both = torch.stack([films, masks], dim=1)
    out = F.grid_sample(both, grid, mode="bilinear", padding_mode="border", align_corners=False)
    belly = ((y > bottom) & which[:, None]).float()[:, :, None]
    folds = (_clouds(dice, size) - 0.5) * _each(dice.between(0, 0.8)) * belly
    return (out[:, 0] + folds).clamp(0, 1), out[:, 1]


def swirled(films: Tensor, dice: Dice, cells: int = 5) -> Tensor:
    """Films (B, S, S) bent so far that their anatomy is gone, though their greys and textures are not."""
    size = films.shape[-1]
    bend = dice.normal(2, cells, cells) * dice.between(0.12, 0.3)[:, None, None, None]
    bend = F.interpolate(bend, size=(size, size), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    line = torch.linspace(-1, 1, size)
    straight = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    out = F.grid_sample(
        films[:, None], straight + bend, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return out[:, 0]


def joined(films: Tensor, others: Tensor, dice: Dice) -> Tensor:
    """Two films (B, S, S) in one picture: side by side or one above the other, squeezed or cut in halves."""
    size = films.shape[-1]
    across = dice.chance(0.6)
    first, second = (torch.where(_each(across), x, x.transpose(1, 2)) for x in (films, others))
    squeezed = torch.cat([F.avg_pool2d(x[:, None], (1, 2))[:, 0] for x in (first, second)], dim=2)
    seam = (torch.arange(size)[None, None, :] < _each(dice.between(0.35, 0.65) * size)).expand_as(first)
    cut = torch.where(seam, first, second)
    out = torch.where(_each(dice.chance(0.7)), squeezed, cut)
    return torch.where(_each(across), out, out.transpose(1, 2))


def junk(films: Tensor, dice: Dice, size: int) -> Tensor:
    """Pictures that are no film (B, size, size): noise, clouds, ramps, gratings, slices, shuffled films."""
    makers: tuple[Callable[[], Tensor], ...] = (
        lambda: 0.5 + _each(dice.between(0.005, 0.3)) * dice.normal(size, size),
        lambda: _clouds(dice, size),
        lambda: _ramps(dice, size),
        lambda: _gratings(dice, size),
        lambda: _slices(dice, size),
        lambda: shuffled(films, dice, 4),
        lambda: shuffled(films, dice, 8),
        lambda: _shapes(dice, size),
    )
    kind = dice.choice(len(makers))
    out = torch.zeros(len(films), size, size)
    for n, make in enumerate(makers):
        out = torch.where(_each(kind == n), make(), out)
    return out.clamp(0, 1)


def _smooth(films: Tensor, cells: int) -> Tensor:
    """The slow part of each film: averaged over cells x cells and drawn up again."""
    small = F.adaptive_avg_pool2d(films[:, None], cells)
    return F.interpolate(small, size=films.shape[-2:], mode="bilinear")[:, 0]


def _each(values: Tensor) -> Tensor:
    return values[:, None, None]


def _pick(n: int, generator: Generator) -> int:
    return int(torch.randint(n, (1,), generator=generator))


def _clouds(dice: Dice, size: int) -> Tensor:
    out = torch.zeros(dice.size, size, size)
    for cells in (3, 6, 12, 24, 48):
        octave = F.interpolate(dice.normal(1, cells, cells), size=(size, size), mode="bicubic")[:, 0]
        out += octave * _each(dice.between(0, 1)) * (3 / cells) ** 0.7
    return 0.5 + 0.25 * out


def _ramps(dice: Dice, size: int) -> Tensor:
    line = torch.linspace(-1, 1, size)
    x = _each(dice.normal()) * line[None, None, :] + _each(dice.normal()) * line[None, :, None]
    bowl = _each(dice.normal()) * (line[None, None, :] ** 2 + line[None, :, None] ** 2)
    return 0.5 + 0.3 * (x + bowl) + 0.02 * dice.normal(size, size)


def _gratings(dice: Dice, size: int) -> Tensor:
    line = torch.linspace(0, 2 * math.pi, size)
    angle, waves = dice.between(0, math.pi), dice.between(1, 30)
    phase = (
        _each(waves * angle.cos()) * line[None, None, :] + _each(waves * angle.sin()) * line[None, :, None]
    )
    return 0.5 + 0.4 * torch.sin(phase + _each(dice.between(0, 6))) * _clouds(dice, size)


def _ellipse(dice: Dice, size: int, least: float, most: float, reach: float) -> Tensor:
    """Soft-edged discs in [0, 1], one a film."""
    line = torch.linspace(-1, 1, size)
    angle = _each(dice.between(0, math.pi))
    x = line[None, None, :] - _each(dice.between(-reach, reach))
    y = line[None, :, None] - _each(dice.between(-reach, reach))
    u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    radius = (
        (u / _each(dice.between(least, most))) ** 2 + (v / _each(dice.between(least, most))) ** 2
    ).sqrt()
    return torch.sigmoid((1 - radius) * _each(dice.between(8, 60)))


def _slices(dice: Dice, size: int) -> Tensor:
    """A bright ring with blobs inside on black: what a CT or MR slice looks like from afar."""
    body = _ellipse(dice, size, 0.5, 0.95, 0.1)
    skin = body - _ellipse(dice, size, 0.4, 0.85, 0.1)
    out = body * _each(dice.between(0.2, 0.6)) + skin.clamp(0, 1) * _each(dice.between(0, 0.7))
    for _ in range(5):
        out = out + body * _ellipse(dice, size, 0.05, 0.35, 0.6) * _each(dice.between(-0.5, 0.6))
    return out + 0.1 * (_clouds(dice, size) - 0.5) * body


def _shapes(dice: Dice, size: int) -> Tensor:
    """A few soft discs at random greys on a random ground."""
    out = _each(dice.between(0, 1)).expand(-1, size, size)
    for _ in range(4):
        disc = _ellipse(dice, size, 0.05, 0.8, 0.9)
        out = out * (1 - disc) + _each(dice.between(0, 1)) * disc
    return out
