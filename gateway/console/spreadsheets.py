"""Lists as files for spreadsheets (RFC 4180): nothing that a stranger wrote begins a formula there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from starlette.responses import Response

FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # what a spreadsheet takes for the beginning of one, wide letters, too
# Where lists are parted by semicolons, a spreadsheet ends a cell there that ours goes on in.
_AFTER_OTHER_END = re.compile(r"([;\t|]\s*)(?=[=+\-@＝＋－＠])")


class Csv(Response):
    """What routes that answer with a list say that they do."""

    media_type = "text/csv"


def lines(rows: Iterable[Iterable[object]]) -> str:
    """Rows as lines of CSV."""
    out = io.StringIO()
    csv.writer(out).writerows([plain(value) for value in row] for row in rows)
    return out.getvalue()


def plain(value: object) -> str:
    """A value as text that a spreadsheet shows and does not reckon; numbers stay numbers."""
    text = "" if value is None else str(value)
    if isinstance(value, int | float):
        return text
    text = _AFTER_OTHER_END.sub(r"\1'", text)
    return f"'{text}" if text.startswith(FORMULA) else text
