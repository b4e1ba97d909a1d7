"""A picture file as a film; nothing is known of it but its pixels. models.pictures reads it."""

from __future__ import annotations

from models.pictures import Picture
from pipelines.film import PREVIEW_PX, Film, Header

DX = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation
# What can be said of a picture that a person calls a film: no claims, so the gates have the pixels alone.
SILENT = Header(
    sop_class_uid=DX,
    modality="DX",
    image_type=("ORIGINAL", "PRIMARY"),
    presentation_intent="FOR PRESENTATION",
    photometric="MONOCHROME2",
)


def picture_film(picture: Picture, *, long_side: int = PREVIEW_PX) -> Film:
    """A picture with its long side at most `long_side`."""
    rows, columns = picture.values.shape
    pixels = picture.reduced(long_side)
    return Film(SILENT, pixels, (rows / pixels.shape[0], columns / pixels.shape[1]))
