"""What people search by: kept by whoever decodes a film, found by an index, given by the page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ledger_films import CHEST, HELD, NOW, PASS, claimed, ledger, received
from sqlalchemy import event, select, update

from gateway.ledger import Ledger
from gateway.ledger.holding.rejecting import write_withheld
from gateway.ledger.records import Judged, Wanted
from gateway.ledger.searching.records import Searched, masked
from gateway.ledger.searching.tables import headers, reasons
from gateway.ledger.searching.uncertainty import uncertainty
from gateway.ledger.tables import decisions, holds
from pipelines.film import Act, Decision, Finding, Header, Identity, Reason, Verdict

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from ledger import HELD_FOR, START, accession, doubt, fill, held, sender

__all__ = ["ledger"]

OF_ANN = Identity("1.2.9", "1.2.9.1", "ACC1", "PAT1", "ROOM 3 TABLE")
HEADER = Header(modality="DX", study_date="20261120", identity=OF_ANN)
TURNED = Finding("rotation", Verdict.UNSURE, 0.5, 0.25, 0.75, Reason.ROTATION_UNSURE)
DOUBTED = replace(HELD, header=HEADER, findings=(TURNED,))


def with_identity(judged: Judged, **values: str) -> Judged:
    return replace(judged, header=replace(HEADER, identity=replace(OF_ANN, **values)))


def receive(ledger: Ledger, uid: str, calling: str = "ROOM3", digest: str = "a") -> int:
    row = ledger.associate(calling=calling, called="FILMGATE", address="127.0.0.1", now=NOW)
    return ledger.record([received(uid, digest, association_id=row)])[0].film_id


def found(ledger: Ledger, **wishes: Any) -> list[int]:
    return [one.film_id for one in ledger.search(Wanted(**wishes))]


# --- what is kept ---------------------------------------------------------------------------------


def test_a_film_is_found_by_what_its_header_says(ledger: Ledger) -> None:
    """From its decision on; by sender, UID and id from the beginning."""
    film = receive(ledger, "1.2.3")
    assert (found(ledger, accession="ACC1"), found(ledger, sender="ROOM3"), found(ledger, text="1.2.3")) == (
        [],
        [film],
        [film],
    )
    ledger.judge(claimed(ledger), replace(PASS, header=HEADER), now=NOW)
    by = {"accession": "ACC1", "patient_id": "PAT1", "study_uid": "1.2.9", "series_uid": "1.2.9.1"}
    by |= {"device": "ROOM 3 TABLE", "modality": "DX", "study_date": "20261120", "sender": "ROOM3"}
    assert {name: found(ledger, **{name: value}) for name, value in by.items()} == {
        name: [film] for name in by
    }
    assert [found(ledger, text=word) for word in ("ACC1", "PAT1", "1.2.9", "AC*", "nobody")] == [
        [film]
    ] * 4 + [[]]
    assert ledger.searched(film) == Searched(**by, read=True)


def test_an_undecided_film_of_a_sender_stands_in_its_place_of_the_list(ledger: Ledger) -> None:
    for number in range(4):
        receive(ledger, f"1.2.{number}", "ROOM3" if number != 2 else "ROOM4")
    ledger.judge(claimed(ledger), replace(PASS, header=HEADER), now=NOW)
    assert found(ledger, sender="ROOM3") == [4, 2, 1]
    assert found(ledger, sender="ROOM3", sort="oldest", after=1) == [2, 4]
    assert found(ledger, sender="ROOM3", decision="undecided") == [4, 2]


@pytest.mark.parametrize("judged", [PASS, DOUBTED])
def test_a_later_version_corrects_whose_film_it_is(ledger: Ledger, judged: Judged) -> None:
    """The same pixels under another patient: found by the new number, no longer by the old one."""
    film = receive(ledger, "1.2.3")
    ledger.judge(claimed(ledger), replace(judged, header=HEADER), now=NOW)
    receive(ledger, "1.2.3", "PACS", "b")
    corrected = replace(HEADER, identity=replace(OF_ANN, accession="ACC2", device="ROOM 4"))
    ledger.same_pixels(claimed(ledger), header=corrected, now=NOW)
    assert (found(ledger, accession="ACC1"), found(ledger, accession="ACC2")) == ([], [film])
    assert found(ledger, sender="PACS") == [film]
    if judged.hold:
        (card,) = ledger.sheet(Wanted(accession="ACC2"))
        assert (card.header.device, ledger.groups("device")[0].words) == ("ROOM 4", ("ROOM 4",))


def test_an_earlier_version_that_is_gated_again_changes_nothing_of_that(ledger: Ledger) -> None:
    film = receive(ledger, "1.2.3")
    ledger.judge(claimed(ledger), replace(PASS, header=HEADER), now=NOW)
    receive(ledger, "1.2.3", "PACS", "b")
    ledger.same_pixels(claimed(ledger), header=replace(HEADER, identity=Identity(accession="ACC2")), now=NOW)
    assert ledger.gate_again(film, by="ann", now=NOW)
    ledger.judge(claimed(ledger), replace(PASS, header=HEADER), now=NOW)
    assert ledger.searched(film).accession == "ACC2"


def test_what_cannot_be_read_leaves_what_is_known(ledger: Ledger) -> None:
    film = receive(ledger, "1.2.3")
    ledger.judge(claimed(ledger), replace(PASS, header=HEADER), now=NOW)
    receive(ledger, "1.2.3", "PACS", "b")
    ledger.judge(claimed(ledger), replace(HELD, header=None), now=NOW)
    assert (found(ledger, accession="ACC1"), ledger.unread_headers()) == ([film], 0)


def test_the_reasons_that_stand_are_those_of_the_last_decision(ledger: Ledger) -> None:
    """The earlier ones are kept; a code that is a reason and a flag is a reason."""
    film = receive(ledger, "1.2.3")
    both = Decision(Act.QUARANTINE, (Reason.BLANK, Reason.CLIPPED), "x", "x", flags=(Reason.CLIPPED,))
    ledger.judge(claimed(ledger), replace(HELD, decision=both), now=NOW)
    assert [found(ledger, reason=code) for code in ("BLANK", "CLIPPED")] == [[film], [film]]
    ledger.gate_again(film, by="ann", now=NOW)
    ledger.judge(claimed(ledger), PASS, now=NOW)
    assert [found(ledger, reason=code) for code in ("BLANK", "CLIPPED")] == [[], []]
    with ledger.reading() as db:
        rows = db.execute(select(reasons.c.code, reasons.c.flag, reasons.c.place, reasons.c.current)).all()
    assert rows == [("BLANK", False, 0, False), ("CLIPPED", False, 1, False)]


def test_what_is_asked_of_the_same_table_twice_is_asked_of_one_film(ledger: Ledger) -> None:
    """A device and an accession number: both of one film, not each of some."""
    for number, (device, number_of) in enumerate((("A", "ACC1"), ("B", "ACC2"))):
        receive(ledger, f"1.2.{number}")
        ledger.judge(claimed(ledger), with_identity(DOUBTED, device=device, accession=number_of), now=NOW)
    assert (found(ledger, device="A", accession="ACC2"), found(ledger, device="B", accession="ACC2")) == (
        [],
        [2],
    )
    assert found(ledger, decision="quarantine", sort="uncertain", device="A") == [1]
    assert found(ledger, accession_of=2) == [2]


def test_a_value_of_a_stranger_is_a_value(ledger: Ledger) -> None:
    """Wild cards of SQL, a NUL, a lone star, an id beyond all ids."""
    receive(ledger, "1.2.3")
    ledger.judge(claimed(ledger), with_identity(PASS, accession="A%C_1\x00'"), now=NOW)
    for odd in ("A%", "_" * 8, "\x00", "'", "9" * 40, "-1"):
        assert found(ledger, text=odd) == []
    assert found(ledger, accession="A%C_1\x00'") == found(ledger, accession="*") == [1]


# --- sorting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "expected"), [(0.5, 1.0), (0.25, 0.5), (0.75, 0.5), (0.0, 0.0), (1.0, 0.0), (0.875, 0.25)]
)
def test_a_score_between_its_thresholds_is_uncertain(score: float, expected: float) -> None:
    sure = Finding("lungs", Verdict.GOOD, 1.0, 0.1, 0.9)
    assert uncertainty((replace(TURNED, score=score), sure)) == pytest.approx(expected)


def test_a_gate_that_failed_is_as_uncertain_as_can_be_and_one_without_thresholds_says_nothing() -> None:
    assert uncertainty((Finding("mirror", Verdict.FAILED),)) == 1.0
    assert (
        uncertainty((Finding("header", Verdict.BAD), Finding("exposure", Verdict.GOOD, float("nan")))) == 0.0
    )
    assert uncertainty((replace(TURNED, score=float("nan")),)) in (0.0, 1.0)


FILMS = 600


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    path = tmp_path_factory.mktemp("many") / "ledger.sqlite"
    fill(path, FILMS)
    opened = Ledger.open(f"sqlite:///{path}")
    yield opened
    opened.close()


HOLDS = [n for n in range(1, FILMS + 1) if held(n)]


def code(n: int) -> str:
    return HELD_FOR[n % len(HELD_FOR)]


@pytest.mark.parametrize(
    ("sort", "group", "key"),
    [
        ("oldest", None, lambda n: n),
        ("newest", None, lambda n: -n),
        ("uncertain", None, lambda n: (-doubt(n), n)),
        ("oldest", "reason", lambda n: (code(n), n)),
        ("newest", "device", lambda n: (f"DX-{n % 12}", -n)),
        ("uncertain", "room", lambda n: (sender(n), f"DX-{n % 12}", code(n), -doubt(n), n)),
        ("oldest", "accession", lambda n: (accession(n), n)),
    ],
)
def test_the_sheet_goes_on_after_any_of_its_cards(many: Ledger, sort: Any, group: Any, key: Any) -> None:
    """Page by page each hold comes once, in its place."""
    seen: list[int] = []
    after = None
    while page := many.sheet(sort=sort, group=group, after=after, limit=50):
        seen += [card.film_id for card in page]
        after = page[-1].hold_id
    assert seen == sorted(HOLDS, key=key)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(reason="BLANK"), lambda n: code(n) == "BLANK"),
        (Wanted(sender="ROOM1", device="DX-3"), lambda n: sender(n) == "ROOM1" and n % 12 == 3),
        (Wanted(accession="ACC0000007"), lambda n: n // 3 == 7),
        (Wanted(accession_of=22), lambda n: n // 3 == 7),
        (Wanted(patient_id="PAT0000003"), lambda n: n // 12 == 3),
        (Wanted(text="PAT0000003"), lambda n: n // 12 == 3),
        (Wanted(study_date="20260302-20260302"), lambda n: n < 960),
        (Wanted(since=START + timedelta(hours=5)), lambda n: n >= 300),
        (
            Wanted(until=START + timedelta(hours=5), device="DX-1*"),
            lambda n: n < 300 and n % 12 in (1, 10, 11),
        ),
        (Wanted(films=(4, 5, 6)), lambda n: n in (4, 6)),
    ],
)
def test_each_wish_of_the_sheet_is_asked_of_the_database(many: Ledger, wanted: Wanted, expected: Any) -> None:
    assert [card.film_id for card in many.sheet(wanted, limit=200)] == [n for n in HOLDS if expected(n)][:200]
    assert many.count_sheet(wanted) == sum(map(expected, HOLDS))


def test_groups_are_counted_and_what_they_are_asked_by_gives_them(many: Ledger) -> None:
    for by in ("reason", "sender", "device", "accession", "room"):
        groups = many.groups(by)  # type: ignore[arg-type]
        first = groups[0]
        cards = many.sheet(Wanted(**first.wishes), limit=200)  # type: ignore[arg-type]
        assert (len(cards), cards[0].opened_at) == (first.count, first.since)
    assert sum(group.count for group in many.groups("reason")) == len(HOLDS)
    assert many.groups("accession", limit=1)[0].words[0].startswith("•••")


def test_a_card_has_all_that_a_thumbnail_shows(many: Ledger) -> None:
    (card,) = many.sheet(limit=1)
    assert (card.film_id, card.reasons, card.proposal, card.uncertainty) == (1, (code(1),), None, doubt(1))
    assert [one["gate"] for one in card.findings][:2] == ["header", "exposure"]
    assert (card.header.sender, card.header.device) == (sender(1), "DX-1")
    assert many.cards([card.hold_id]) == (card,)


def test_a_page_of_the_sheet_reads_one_index_and_its_own_rows(many: Ledger) -> None:
    """However many are held: no table is gone through."""
    asked: list[tuple[str, Any]] = []

    def remember(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(many._engine, "before_cursor_execute", remember)
    try:
        many.sheet(sort="uncertain", group="room"), many.groups("room"), many.count_sheet()
    finally:
        event.remove(many._engine, "before_cursor_execute", remember)
    with many.reading() as db:
        plans = [
            row[3]
            for statement, parameters in asked
            if statement.startswith("SELECT")
            for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    over_holds = [step for step in plans if step.split()[1] == "holds" and "PRIMARY KEY" not in step]
    assert over_holds
    assert all("USING COVERING INDEX ix_holds_s" in step for step in over_holds)
    assert [step for step in plans if step.startswith("SCAN")] == []


def test_the_figures_of_a_day(many: Ledger) -> None:
    since = START + timedelta(minutes=301)
    day = many.today(since)
    those = range(301, FILMS + 1)
    quarantined = sum(map(held, those))
    assert (day.received, day.quarantined, day.passed, day.undecided) == (
        300,
        quarantined,
        300 - quarantined,
        0,
    )
    assert day.held_for == {name: sum(code(n) == name for n in HOLDS) for name in {code(n) for n in HOLDS}}
    assert (day.oldest_wait, day.unread) == (START + timedelta(seconds=61), 0)
    assert (day.failed, day.ready) == ({}, 0)
    assert day.owed > 0


# --- showing --------------------------------------------------------------------------------------


def test_a_number_of_a_patient_is_masked_and_showing_it_is_written_down(ledger: Ledger) -> None:
    film = receive(ledger, "1.2.3")
    ledger.judge(claimed(ledger), replace(PASS, header=HEADER), now=NOW)
    assert ledger.reveal(film, by="ann", now=NOW).patient_id == "PAT1"
    shown = ledger.events(film)[-1]
    assert (shown["what"], shown["who"]) == ("shown to a person", "ann")
    assert "PAT1" not in str(ledger.events(film))
    assert [masked(value) for value in ("", "1", "123", "PAT1234")] == ["", "•••", "•••", "•••234"]
    assert "PAT1" not in repr(ledger.searched(film)) + repr(HEADER)


def test_the_siblings_of_a_film_are_those_of_its_study(ledger: Ledger) -> None:
    for number in range(3):
        receive(ledger, f"1.2.{number}")
        ledger.judge(claimed(ledger), with_identity(PASS, study_uid="1.9" if number < 2 else "1.8"), now=NOW)
    assert [one.film_id for one in ledger.siblings(1)] == [2]
    assert ledger.siblings(3) == ()


# --- an older ledger ------------------------------------------------------------------------------


def test_an_older_ledger_is_read_a_few_at_a_time_and_never_twice(ledger: Ledger) -> None:
    """Also how sure the gates were, which was not reckoned then; what cannot be read is not tried again."""
    for number in range(20):
        receive(ledger, f"1.2.{number}")
        ledger.judge(claimed(ledger), DOUBTED, now=NOW)
    with ledger.writing() as db:
        db.execute(update(headers).values(read_at=None, accession="", device=""))
        db.execute(update(decisions).values(uncertainty=None))
        db.execute(update(holds).values(uncertainty=0.0, accession="", device=""))
    batches = []
    while unread := ledger.unread():
        batches.append(len(unread))
        ledger.catch_up([(one, HEADER if one.film_id > 1 else None) for one in unread], now=NOW)
    assert sum(batches) == 20
    assert max(batches) <= 16
    assert len(found(ledger, accession="ACC1")) == 19
    assert [(card.uncertainty, card.header.device) for card in ledger.sheet()][1:] == [
        (1.0, "ROOM 3 TABLE")
    ] * 19
    assert (ledger.unread_headers(), ledger.sheet()[0].uncertainty) == (0, 1.0)


def test_what_a_worker_judged_meanwhile_is_not_overwritten(ledger: Ledger) -> None:
    receive(ledger, "1.2.3")
    ledger.judge(claimed(ledger), PASS, now=NOW)
    with ledger.writing() as db:
        db.execute(update(headers).values(read_at=None))
    unread = ledger.unread()
    receive(ledger, "1.2.3", digest="b")
    ledger.same_pixels(claimed(ledger), header=HEADER, now=NOW)
    ledger.catch_up([(unread[0], replace(HEADER, identity=Identity(accession="OLD")))], now=NOW)
    assert ledger.searched(1).accession == "ACC1"


def test_what_no_worker_decodes_is_read_too(ledger: Ledger) -> None:
    """An object of ours that came back has no job; its header is read by the worker that idles."""
    film = receive(ledger, "1.2.3")
    copy = replace(PASS, send_original_to=CHEST)
    ledger.judge(claimed(ledger), copy, now=NOW)
    with ledger.writing() as db:
        db.execute(headers.delete())
        write_withheld(db, film, 1, Decision(Act.WITHHOLD, (Reason.OURS,), "ours", "x"), NOW)
    assert [one.film_id for one in ledger.unread()] == [film]
    assert found(ledger, reason="OURS", sender="ROOM3") == [film]
