"""Files of films, DICOM or pictures: which files of a folder are some, and what the gates see of one.

`classify`, `calibrate --site` and `region begin` ask here, so that a folder has the same films for all of
them, at the resolution at which a worker sees them. A file that a person names is read whatever it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.pictures import NOTHING, Known, Picture, is_picture, read
from pipelines.decode import decode_film
from pipelines.film import PREVIEW_PX, Film, Header
from pipelines.instance.first_elements import files_below, is_part10

DX = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation
# What can be said of a picture that a person calls a film: no claims, so the gates have the pixels alone.
SILENT = Header(
    sop_class_uid=DX,
    modality="DX",
    image_type=("ORIGINAL", "PRIMARY"),
    presentation_intent="FOR PRESENTATION",
    photometric="MONOCHROME2",
)


def film_files(folder: Path) -> Iterator[Path]:
    """Files below a folder, in order, that may be films: pictures by their names, DICOM by its first bytes.

    Raises OSError.
    """
    return (path for path in files_below(folder) if is_picture(path) or is_part10(path))


def read_film(path: Path, known: Known = NOTHING) -> Film:
    """The film in a file, decoded in this process, so for one's own files.

    Raises Undecodable, PictureError or OSError.
    """
    return picture_film(read(path, known)) if is_picture(path) else decode_film(path)


def picture_film(picture: Picture, *, long_side: int = PREVIEW_PX) -> Film:
    """A picture with its long side at most `long_side`; nothing is known of it but its pixels."""
    rows, columns = picture.values.shape
    pixels = picture.reduced(long_side)
    return Film(SILENT, pixels, (rows / pixels.shape[0], columns / pixels.shape[1]))
