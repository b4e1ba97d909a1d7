"""Pages as they look: dark and light, small and large, with axe, and the pictures of them for docs/console."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page

THEMES = ("dark", "light")
SIZES = ((1280, 720), (1920, 1080))  # of a notebook, and of the screen on a desk
COLOURS = 96  # of a picture that is kept: enough for greys and the few colours of the console
FEWEST_COLOURS = 12  # even of text on a ground, by its smooth edges
_SWITCH = """theme => {
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById('theme');
  if (button) button.textContent = theme === 'light' ? 'Dark' : 'Light';
}"""
_WIDE = """() => [document.documentElement.scrollWidth - innerWidth,
  ...[...document.querySelectorAll('.bar nav')].map((bar) => bar.scrollWidth - bar.clientWidth)]"""
_PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass
class Looking:
    """What is wrong with the pages that were looked at, each in both themes and both sizes."""

    folder: Path
    keeps: bool  # as small files; otherwise they are looked at and forgotten

    def at(self, page: Page, name: str) -> list[str]:
        """The faults of the page as it stands there, and pictures of it: NAME-dark-1280.png and so on."""
        faults = list[str]()
        for theme in THEMES:
            page.evaluate(_SWITCH, theme)
            faults += [f"{name}, {theme}: {one}" for one in grave(page)]
            for size in SIZES if theme == THEMES[0] else SIZES[::-1]:
                faults += self._picture(page, name, theme, size)
        page.evaluate(_SWITCH, THEMES[0])
        return faults

    def _picture(self, page: Page, name: str, theme: str, size: tuple[int, int]) -> list[str]:
        if page.viewport_size != {"width": size[0], "height": size[1]}:
            page.set_viewport_size({"width": size[0], "height": size[1]})
        page.evaluate(_PAINTED)
        faults = [f"{over} px too wide" for over in page.evaluate(_WIDE) if over > 0]
        picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
        if picture.size != size:
            faults.append(f"the picture has {picture.size}")
        if len(picture.getcolors(1 << 24) or ()) < FEWEST_COLOURS:
            faults.append("the picture is blank")
        if self.keeps:
            small = picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            small.save(self.folder / f"{name}-{theme}-{size[0]}.png", optimize=True)
        return [f"{name}, {theme}, {size[0]}: {fault}" for fault in faults]


def grave(page: Page) -> list[str]:
    """What axe finds above "moderate", each with the first place where it is."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']} at {one['nodes'][0]['html'][:160]} ({len(one['nodes'])})"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
