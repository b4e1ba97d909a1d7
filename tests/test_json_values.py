"""Frozen values as JSON: the bytes that were written before, and what was written before is read."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.film import (
    Answer,
    Box,
    Damage,
    Finding,
    Header,
    Operations,
    Reason,
    Ruling,
    Verdict,
)
from pipelines.json_values import from_plain, from_stranger, plain

TEXTS = st.text(max_size=20)
NUMBERS = st.one_of(st.floats(), st.integers(-(2**40), 2**40))
FINITE = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-1000, 1000))
BOXES = st.builds(Box, *[FINITE] * 4)
VALUES = st.one_of(
    BOXES,
    st.builds(Damage, TEXTS, BOXES),
    st.builds(
        Operations, st.none() | BOXES, st.sampled_from([0, 90, 180, 270]), st.booleans(), st.booleans()
    ),
    st.builds(
        Finding,
        TEXTS,
        st.sampled_from(Verdict),
        FINITE,
        FINITE,
        FINITE,
        st.none() | st.sampled_from(Reason),
        TEXTS,
        st.none() | BOXES,
        TEXTS,
        st.lists(st.tuples(TEXTS, FINITE), max_size=3).map(tuple),
    ),
    st.builds(
        Header,
        sop_class_uid=TEXTS,
        image_type=st.lists(TEXTS, max_size=4).map(tuple),
        rows=st.integers(0, 2**32),
        age_years=st.none() | FINITE,
        urgent=st.booleans(),
        words=st.lists(TEXTS, max_size=2).map(tuple),
    ),
)


@given(VALUES)
def test_the_bytes_are_those_of_the_fields_as_they_stand(value: Any) -> None:
    """What wrote them before; an int where a float is expected stays one, and no number is rounded."""
    assert json.dumps(plain(value)) == json.dumps(asdict(value))


@given(VALUES)
def test_what_was_written_is_read_and_is_the_same(value: Any) -> None:
    """From JSON as `asdict` gave it, by those who trust the writer and by those who do not."""
    fields = json.loads(json.dumps(asdict(value)))
    assert from_plain(type(value), fields) == from_stranger(type(value), fields) == value


@given(st.builds(Finding, TEXTS, st.sampled_from(Verdict), NUMBERS, NUMBERS, NUMBERS))
def test_a_score_that_is_no_number_keeps_its_bytes(finding: Finding) -> None:
    """NaN and infinity stand in rows as Python's `json` writes them, and are read again."""
    text = json.dumps(plain(finding))
    assert text == json.dumps(asdict(finding))
    assert json.dumps(plain(from_plain(Finding, json.loads(text)))) == json.dumps(
        asdict(finding) | {name: float(getattr(finding, name)) for name in ("score", "low", "high")}
    )


def test_a_row_from_before_a_field_was_added_is_read() -> None:
    """Copies had no `relabel`, findings no `facts`, and what is not known any more does no harm."""
    assert from_plain(Operations, {"crop": None, "turn": 90, "invert": True}) == Operations(None, 90, True)
    assert from_plain(Operations, {}) == Operations()
    old = {
        "score": 1,
        "low": 0.1,
        "high": 0.9,
        "reason": "BLANK",
        "detail": "",
        "box": None,
        "model_digest": "",
    }
    read = from_plain(Finding, {"gate": "exposure", "verdict": "bad", **old, "site": "A"})
    assert read == Finding("exposure", Verdict.BAD, 1.0, 0.1, 0.9, Reason.BLANK)


def test_a_time_is_left_to_who_writes_it() -> None:
    at = datetime(2026, 11, 28, 8, 30, tzinfo=UTC)
    ruling = Ruling("ROOM3", "BONE", Answer.ALWAYS, "ann", at)
    assert plain(ruling) == asdict(ruling)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": "12"},
        {"rows": True},
        {"rows": 12.5},
        {"urgent": 1},
        {"modality": 3},
        {"modality": None},
        {"image_type": "DERIVED"},
        {"image_type": [3]},
        {"age_years": "12"},
    ],
)
def test_a_stranger_is_not_helped_to_say_what_he_means(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        from_stranger(Header, asdict(Header()) | change)
