"""Words by which a header says that a picture was computed, or made for another purpose than a film.

A closed list, so what is kept, shown and asked of people is a word from here and never a text from a header.
PS3.3 C.7.6.1.1.2 leaves ImageType values 3 and up to the maker, and descriptions are free text: the same word
stands on a bone image of one maker and on every film of another. So a word alone decides nothing; a person
says what it means, once for a sender (pipelines.film.Ruling).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

# The word that people are asked about, and how makers write it: whole words, letters alone. The longer first.
SPELLINGS = {
    "BONE SUPPRESSED": "(?:BONES?|RIBS?) ?SUPPRESS(?:ED|ION)?",
    "SUPPRESSED": "SUPPRESS(?:ED|ION)?",
    "SUBTRACTED": "SUBTRACT(?:ED|ION)?",
    "DUAL ENERGY": "DUAL(?: ?ENERGY)?",
    "SOFT TISSUE": "SOFT(?: ?TISSUES?)?",
    "BONE": "BONES?",
    "TOMOSYNTHESIS": "TOMO(?: ?SS?[YIÍ]NT\\w*|GRA\\w*)?",  # as most languages write it
    "STITCHED": "STITCH(?:ED|ING)?",
    "CAD": "CAD",
    "SCREENSHOT": "SCREEN ?SHOTS?",
    "QA": "QA|QUALITY (?:ASSURANCE|CONTROL)",
    "PHANTOM": "(?:PH|F)ANT[OÔ]M(?:S|E|ES|A|AS|Y)?",
    "COMPANION": "COMPANION",
    "LOCALIZER": "LOCALI[SZ]ER",
    "SCOUT": "SCOUT",
    "THUMBNAIL": "THUMBNAIL",
    "FOR PROCESSING": "FOR ?PROCESSING",
}
# What looks like one of them and is said of ordinary films: an examination, or how a plate is read or cleaned
ORDINARY = (
    "BONE (?:AGE|MARROW|SURVEY)",
    "(?:NOISE|SCATTER|GRID(?: LINES?)?) SUPPRESS(?:ED|ION)?",
    "DUAL SIDED?",
)
FOR_PROCESSING = "FOR PROCESSING"
COMPANION_WORDS = frozenset(
    {"COMPANION", "LOCALIZER", "SCOUT", "THUMBNAIL"}
)  # beside a film, not in its place

_WORDS = tuple(SPELLINGS)
_ANY = re.compile(
    rf"\b(?:(?:{'|'.join(ORDINARY)})|{'|'.join(f'({spelling})' for spelling in SPELLINGS.values())})\b"
)


def special_words(texts: Iterable[str]) -> tuple[str, ...]:
    """The words of SPELLINGS that stand in these texts, each once: "\\TOMO_PROJ" says TOMOSYNTHESIS,
    SOFTCOPY and CASCADE say nothing."""
    groups = (match.lastindex for text in texts for match in _ANY.finditer(_letters(text)))
    return tuple(dict.fromkeys(_WORDS[index - 1] for index in groups if index))


def word_named(text: str) -> tuple[str, ...]:
    """The words that somebody may mean by this text; one where it is clear."""
    said = special_words([text])
    return said or tuple(get_close_matches(_letters(text).strip(), _WORDS))


def _letters(text: str) -> str:
    """Upper case; all that is no letter is a space."""
    return re.sub(r"[\W\d_]+", " ", text.upper())
