"""What is said of an error that nobody thought of: where it was, and no words that may quote a film.

Messages of other libraries hold what they choked on, and that may be a patient's name ("could not convert
string to float: ..."). Lines of code hold none.
"""

from __future__ import annotations

import traceback
from types import TracebackType

from gateway.errors import FilmgateError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_SAY_NAMES_OF_CODE = (AttributeError, NameError, ImportError)  # their words are names in the program
_MOST_CAUSES = 8


def full(exc_info: ExcInfo) -> str:
    """The traceback as Python prints it, causes first, with the messages of others left out."""
    parts: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None and len(parts) < _MOST_CAUSES:
        frames = "".join(traceback.format_tb(error.__traceback__))
        head = "Traceback (most recent call last):\n" if frames else ""
        parts.append(f"{head}{frames}{words(error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nAfter this, which led to it:\n\n".join(reversed(parts))


def words(error: BaseException) -> str:
    """Its kind, and its message where that cannot quote a film."""
    kind = type(error).__name__
    if isinstance(error, OSError):
        return f"{kind}: {error.strerror}" if error.strerror else kind
    ours = isinstance(error, FilmgateError) or type(error) in _SAY_NAMES_OF_CODE
    return f"{kind}: {error}" if ours else f"{kind} (its words are left out: they may quote a film)"


def short(error: BaseException) -> str:
    """In one line: its kind, and the line of code."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or isinstance(error, FilmgateError):
        return words(error)
    at = frames[-1]
    return f"{words(error)}, in {at.name} ({'/'.join(at.filename.split('/')[-2:])}:{at.lineno})"
