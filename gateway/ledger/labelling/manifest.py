"""Labels as the manifest that `filmgate train` and `calibrate --site` take; no name, number or date of birth.

A film that people found turned, inverted or flipped is exported put right: the manifest is one of films as
they should have been, and its note says what was done.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO

from gateway.ledger.labelling.labels import Labelled
from gateway.ledger.labelling.words import CHEST, FRONTAL, LATERAL, What, box_of
from pipelines.film import Box

COLUMNS = (
    "file",
    "source",
    "site",
    "group",
    "view",
    "body_part",
    "date",
    "bits",
    "polarity",
    "lung_box",
    "terms",
    "flag",
    "note",
    "split",
    "age",
    "sex",
    "projection",
    "labels",
    "lung_mask",
)
BITS = 16  # of an exported picture
TERMS = ("open", "nc", "unclear")
FOLDER = "films"
NAME_DIGITS = 16  # of the digest


@dataclass(frozen=True, slots=True)
class Line:
    """One film of a manifest."""

    film: Labelled
    site: str
    terms: str

    @property
    def file(self) -> str:
        return f"{FOLDER}/{self.film.digest[:NAME_DIGITS]}.png"

    @property
    def turned(self) -> int:
        """Degrees clockwise by which it lies; the picture is turned back."""
        return int(self.film.said.get(What.TURNED, "0"))

    @property
    def inverted(self) -> bool:
        return self.film.said.get(What.POLARITY) == "inverted"

    @property
    def flipped(self) -> bool:
        return self.film.said.get(What.MIRROR) == "flipped"

    @property
    def box(self) -> Box | None:
        """Round both lungs, on the picture as it was put right."""
        drawn = self.film.said.get(What.LUNG_BOX)
        if drawn is None:
            return None
        box = box_of(drawn).turned(-self.turned // 90)
        return Box(1 - box.x1, box.y0, 1 - box.x0, box.y1) if self.flipped else box

    def cells(self, size: tuple[int, int] | None = None) -> dict[str, str]:
        """The row; `size` is that of the picture that was written, rows and columns, for the lung box."""
        view = self.film.said[What.VIEW]
        known = {
            "file": self.file,
            "source": self.site,
            "site": self.site,
            "group": self.film.group,
            "view": view,
            "body_part": self.film.said.get(What.PART, CHEST if view in (FRONTAL, LATERAL) else "other"),
            "date": f"{self.film.received_at:%Y-%m-%d}",
            "bits": str(BITS),
            "polarity": "min-is-black",
            "lung_box": self._box_text(size),
            "terms": self.terms,
            "flag": "unusable exposure" if self.film.said.get(What.EXPOSURE) == "unusable" else "",
            "note": self._note(),
        }
        return dict.fromkeys(COLUMNS, "") | known

    def _box_text(self, size: tuple[int, int] | None) -> str:
        if size is None or self.box is None:
            return ""
        return " ".join(f"{side:.0f}" for side in self.box.in_pixels(*size))

    def _note(self) -> str:
        done = [f"turned back {self.turned} degrees"] if self.turned else []
        done += ["inverted back"] if self.inverted else []
        done += ["flipped back"] if self.flipped else []
        return "; ".join([*done, f"labelled by {len(self.film.people)} of the site"])


@dataclass(frozen=True, slots=True)
class Manifest:
    """Films of which people said what they show, and how many labelled ones are not among them."""

    lines: tuple[Line, ...]
    without_view: int
    disagreed: int


def manifest(agreed: Sequence[Labelled], disagreed: int, *, site: str, terms: str) -> Manifest:
    """The films among these whose view is known."""
    lines = tuple(Line(film, site, terms) for film in agreed if What.VIEW in film.said)
    return Manifest(lines, len(agreed) - len(lines), disagreed)


def as_csv(rows: Iterable[dict[str, str]]) -> str:
    """The text of manifest.csv."""
    out = StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
