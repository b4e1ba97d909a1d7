"""Pages as they look: dark and light, small and large, with axe, and pictures of them for docs/console."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page

THEMES = ("dark", "light")
SIZES = ((1280, 720), (1920, 1080))  # of a notebook, and of the screen on a desk
GREYS, COLOURS = 18, 48  # of a picture that is kept: films and text; marks, links, chips
OFTEN = 24  # colours that are kept as they are: grounds and lines
COLOURED = 24  # by how much red, green and blue differ at least, of 255
FEWEST_COLOURS = 12  # even of text on a ground, by its smooth edges
_SWITCH = """theme => {
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById('theme');
  if (button) button.textContent = theme === 'light' ? 'Dark' : 'Light';
}"""
_WIDE = """() => [document.documentElement.scrollWidth - innerWidth,
  ...[...document.querySelectorAll('.bar nav, aside')].map((one) => one.scrollWidth - one.clientWidth)]"""
_PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass
class Looking:
    """What is wrong with the pages that were looked at, each in both themes and both sizes."""

    folder: Path | None  # for pictures that are kept; None: they are looked at and forgotten

    def at(self, page: Page, name: str, *, keep: bool = True) -> list[str]:
        """The faults of the page as it stands there, and pictures of it: NAME-dark-1280.png and so on."""
        faults = list[str]()
        page.emulate_media(reduced_motion="reduce")  # a colour on its way from theme to theme has no contrast
        for theme in THEMES:
            page.evaluate(_SWITCH, theme)
            faults += [f"{name}, {theme}: {one}" for one in grave(page)]
            for size in self._sizes(theme):
                faults += self._picture(page, name, theme, size, keep=keep)
        page.evaluate(_SWITCH, THEMES[0])
        return faults

    def _sizes(self, theme: str) -> tuple[tuple[int, int], ...]:
        """Both where pictures are kept; else one a theme: each change of size lays the page out anew."""
        if not self.folder:
            return (SIZES[THEMES.index(theme)],)
        return SIZES if theme == THEMES[0] else SIZES[::-1]

    def _picture(self, page: Page, name: str, theme: str, size: tuple[int, int], *, keep: bool) -> list[str]:
        if page.viewport_size != {"width": size[0], "height": size[1]}:
            page.set_viewport_size({"width": size[0], "height": size[1]})
        page.evaluate(_PAINTED)
        faults = [f"{over} px too wide" for over in page.evaluate(_WIDE) if over > 0]
        picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
        if picture.size != size:
            faults.append(f"the picture has {picture.size}")
        if len(picture.getcolors(1 << 24) or ()) < FEWEST_COLOURS:
            faults.append("the picture is blank")
        if keep and self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            small(picture).save(self.folder / f"{name}-{theme}-{size[0]}.png", optimize=True)
        return [f"{name}, {theme}, {size[0]}: {fault}" for fault in faults]


def small(picture: Image.Image) -> Image.Image:
    """With a palette of even greys and of the picture's own colours, so that greys stay grey."""
    values = np.asarray(picture).reshape(-1, 3)
    coloured = values[np.ptp(values, axis=1) >= COLOURED]
    greys = [round(255 * one / (GREYS - 1)) for one in range(GREYS) for _ in "rgb"]
    of_colour = list[int]()
    if len(coloured):
        strip = Image.fromarray(coloured[None, :, :]).quantize(COLOURS, Image.Quantize.MEDIANCUT)
        of_colour = (strip.getpalette() or [])[: 3 * COLOURS]
    often = sorted(picture.getcolors(1 << 24) or (), reverse=True)[:OFTEN]
    palette = Image.new("P", (1, 1))
    palette.putpalette(greys + of_colour + [value for _, colour in often for value in colour])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def grave(page: Page) -> list[str]:
    """What axe finds above "moderate", each with the first place where it is."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']} at {one['nodes'][0]['html'][:160]} ({len(one['nodes'])})"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
