"""How every picture of a report is drawn: once for light pages and once for dark ones, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

Draw = Callable[[Figure, str], None]  # draws into the figure in the look of that name

LOOKS: Mapping[str, Mapping[str, str]] = {
    "light": {"ink": "#1b1b1a", "faint": "#8b8a84", "grid": "#e4e3dd", "band": "#f0efe9"},
    "dark": {"ink": "#ebeae4", "faint": "#94938c", "grid": "#34342f", "band": "#2a2a27"},
}
LINES: Mapping[str, tuple[str, ...]] = {  # told apart by colour-blind readers too
    "light": ("#2a78d6", "#eb6834", "#1baf7a", "#4a3aa7", "#e34948", "#eda100"),
    "dark": ("#3987e5", "#d95926", "#199e70", "#9085e9", "#e66767", "#c98500"),
}
STROKES = ("-", "--", "-.", ":")


def save(folder: Path, name: str, size: tuple[float, float], draw: Draw) -> tuple[str, str]:
    """Draws once for light pages and once for dark ones; returns the two file names."""
    return _save_one(folder, name, size, draw, "light"), _save_one(folder, name, size, draw, "dark")


def _save_one(folder: Path, name: str, size: tuple[float, float], draw: Draw, look: str) -> str:
    path = folder / f"{name}-{look}.svg"
    with mpl.rc_context(_style(look) | {"svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure, look)
        figure.savefig(path, transparent=True, metadata={"Date": None})
    return path.name


def _style(look: str) -> dict[Any, Any]:
    colours = LOOKS[look]
    return {
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": colours["grid"],
        "grid.linewidth": 0.7,
        "axes.edgecolor": colours["faint"],
        "axes.labelcolor": colours["ink"],
        "axes.titlecolor": colours["ink"],
        "text.color": colours["ink"],
        "xtick.color": colours["faint"],
        "ytick.color": colours["faint"],
    }
