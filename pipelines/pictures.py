"""A picture file (PNG, JPEG, TIFF, BMP) as a film; nothing is known of it but its pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.film import PREVIEW_PX, Film, Header

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DX = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation
# What can be said of a picture that a person calls a film: no claims, so the gates have the pixels alone.
SILENT = Header(
    sop_class_uid=DX,
    modality="DX",
    image_type=("ORIGINAL", "PRIMARY"),
    presentation_intent="FOR PRESENTATION",
    photometric="MONOCHROME2",
)


def is_picture(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in PICTURES


def picture_film(path: Path, *, long_side: int = PREVIEW_PX) -> Film:
    """A picture as displayed, bone bright, long side at most `long_side`. Raises ValueError.

    16-bit greys are taken as 0..65535; colours become grey by their luminance.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                wide = picture.mode in ("I", "I;16", "I;16B", "I;16L")
                grey = picture.convert("F") if wide else picture.convert("L").convert("F")
    except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"no picture that can be read: {error}") from error
    columns, rows = grey.size
    scale = min(1.0, long_side / max(columns, rows))
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = np.asarray(grey.resize(size, Image.Resampling.BOX), dtype=np.float32)
    pixels = np.clip(small / np.float32(65535 if wide else 255), 0.0, 1.0)
    return Film(SILENT, np.ascontiguousarray(pixels), (rows / size[1], columns / size[0]))
