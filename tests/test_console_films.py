"""Films and Why: found by what people know, masked until somebody asks, inert whatever strangers wrote."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from console_client import signed_in
from ledger_films import NOW, claimed, received

from gateway.bootstrap import Shell
from gateway.console.doors import Role
from gateway.console.pages.searching.becoming import became
from gateway.console.pages.searching.columns import COLUMNS, plain_cells
from gateway.console.spreadsheets import FORMULA
from gateway.errors import Trouble
from gateway.ledger.records import Judged, Read, Wanted
from gateway.ledger.searching.records import Found
from gateway.settings import Settings
from pipelines.film import Act, Decision, Header, Identity, Reason

SCRIPT = "<script>alert(1)</script>"
HEADER = Header(
    modality="DX", study_date="20261120", identity=Identity("1.2.9", "1.2.9.1", "ACC5551", "PAT7772", "T1")
)
TURNED = Decision(Act.QUARANTINE, (Reason.ROTATED_90,), "turned", "turned 90 degrees")
HELD = Judged(TURNED, (), "enforce", {}, hold=True, header=HEADER, takers=("chest-ai",))
PASS = Judged(Decision(Act.PASS, rule="pass", why="clean"), (), "enforce", {}, header=HEADER)
TO_AI = replace(PASS, send_original_to=("chest-ai",))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell.open(Settings(state=tmp_path / "state"), migrate_first=True)
    yield opened
    opened.close()


def film(shell: Shell, uid: str = "1.2.3", judged: Judged | None = HELD) -> int:
    row = shell.ledger.associate(calling="ROOM3", called="FILMGATE", address="127.0.0.1", now=NOW)
    number = shell.ledger.record([received(uid, association_id=row)])[0].film_id
    if judged is not None:
        shell.ledger.judge(claimed(shell.ledger), judged, now=NOW)
    return number


# --- Films ----------------------------------------------------------------------------------------


def test_a_film_is_found_and_its_patient_is_masked(shell: Shell) -> None:
    """In the page, as JSON, as CSV; the address alone says what is asked for."""
    film(shell)
    film(shell, "1.2.4", PASS)
    with signed_in(shell, Role.VIEWER) as client:
        for address in ("/films", "/films.csv", "/api/films"):
            text = client.get(f"{address}?accession=ACC5551&decision=quarantine&reason=&sender=").text
            assert "ROTATED_90" in text
            assert "•••551" in text.replace("\\u2022", "•")
            assert "1.2.4" not in text
            assert "PAT7772" not in text
        listed = client.get("/api/films?limit=1").json()
        following = client.get(f"/api/films?limit=1&after={listed['after']}").json()
    assert [one["film"] for one in listed["films"] + following["films"]] == [2, 1]
    assert following["after"] is None


def test_the_numbers_are_shown_to_who_may_ask_and_that_is_written_down(shell: Shell) -> None:
    number = film(shell)
    with signed_in(shell, Role.REVIEWER) as client:
        shown = client.post("/api/reveal", json={"film": number})
        assert client.post("/api/reveal", json={"film": 99}).status_code == 404
    assert shown.json() == {"accession": "ACC5551", "patient": "PAT7772"}
    assert shown.headers["cache-control"] == "no-store"
    last = shell.ledger.events(number)[-1]
    assert last["what"] == "shown to a person"
    assert last["who"]


def test_the_columns_that_a_person_chose_are_remembered(shell: Shell) -> None:
    film(shell)
    with signed_in(shell) as client:
        usual = client.get("/films").text
        chosen = client.get("/films?column=film&column=uid&column=nonsense").text
        later = client.get("/films").text
    assert ("Study date</th>" in usual, "Study date</th>" in chosen, "Study date</th>" in later) == (
        True,
        False,
        False,
    )
    assert "SOP Instance UID</th>" in later


def test_pages_say_where_the_next_one_begins(shell: Shell) -> None:
    for number in range(3):
        film(shell, f"1.2.{number}")
    with signed_in(shell) as client:
        page = client.get("/films?limit=2&sender=ROOM3").text
        last = client.get("/films?limit=2&sender=ROOM3&after=2").text
    assert "/films?sender=ROOM3&amp;limit=2&amp;after=2" in page
    assert "That is all." in last
    assert "First page" in last


def test_what_a_stranger_wrote_is_text(shell: Shell) -> None:
    """In the page no element, in a spreadsheet no formula."""
    own = Identity("=1+1", "1.2", f"\t=cmd|{SCRIPT}", f"@SUM({SCRIPT})", f"-{SCRIPT}")
    film(shell, "+1.2.3", replace(HELD, header=replace(HEADER, identity=own, modality="=HYPERLINK(0)")))
    with signed_in(shell) as client:
        page = client.get("/films?" + "&".join(f"column={column.name}" for column in COLUMNS)).text
        rows = list(csv.reader(io.StringIO(client.get("/films.csv").text)))
        why = client.get("/why", params={"q": f"-{SCRIPT}"}).text
    assert SCRIPT not in page + why
    assert "&lt;script&gt;alert(1)" in page
    cells = dict(zip(rows[0], rows[1], strict=True))
    assert [cells[name][:2] for name in ("Study UID", "Device", "Modality", "SOP Instance UID")] == [
        "'=",
        "'-",
        "'=",
        "'+",
    ]
    assert [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


@pytest.mark.parametrize("value", ["=1", "+1", "-1", "@x", "\tx", "\rx", "＝1", "＠x"])
def test_no_cell_begins_a_formula(shell: Shell, value: str) -> None:
    film(shell)
    (found,) = shell.ledger.search()
    odd = replace(found, why=value, header=replace(found.header, device=value))
    cells = dict(zip((column.name for column in COLUMNS), plain_cells(odd, COLUMNS), strict=True))
    assert (cells["why"], cells["device"]) == (f"'{value}", f"'{value}")


@pytest.mark.parametrize("value", ["x;=1", "x; @y", "x\t+1", "x;＝1"])
def test_no_cell_begins_a_formula_where_lists_are_parted_otherwise(shell: Shell, value: str) -> None:
    """A spreadsheet of a country with decimal commas ends a cell at each semicolon."""
    film(shell)
    (found,) = shell.ledger.search()
    cells = dict(
        zip((column.name for column in COLUMNS), plain_cells(replace(found, why=value), COLUMNS), strict=True)
    )
    assert not any(cell.strip()[:1] in FORMULA for cell in re.split(r"[;\t]", str(cells["why"])))


@pytest.mark.parametrize(
    "query",
    [
        "after=0",
        "after=99999999999999999999",
        "limit=0",
        "limit=9999",
        "sort=x",
        "decision=x",
        "reason=x",
        "first_day=x",
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(shell: Shell, query: str) -> None:
    with signed_in(shell) as client:
        assert client.get(f"/films?{query}").status_code == 422


def test_an_empty_list_says_what_to_do_next(shell: Shell) -> None:
    with signed_in(shell) as client:
        assert "No film has been received yet" in client.get("/films").text
        assert "Take a filter away" in client.get("/films?device=NONE").text


def test_a_list_of_days_and_hours(shell: Shell) -> None:
    film(shell)
    days = "first_day=2026-11-20&last_day=2026-11-20"
    since = (NOW - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with signed_in(shell) as client:
        counts = [
            len(client.get(f"/api/films?{query}").json()["films"])
            for query in (
                days,
                "last_day=2026-11-19",
                f"since={since}",
                f"until={since}",
                f"until={since[:-1]}",
            )
        ]
    assert counts == [1, 0, 1, 0, 0]


# --- Why ------------------------------------------------------------------------------------------


def told(shell: Shell) -> str:
    (found,) = shell.ledger.search()
    return said(found)


def said(found: Found) -> str:
    return " ".join(
        "".join("T" if not isinstance(piece, str) else piece for piece in one.pieces) for one in became(found)
    )


def delivered(shell: Shell, **ended: Any) -> None:
    (delivery,) = shell.ledger.claim_deliveries("chest-ai", 8, NOW)
    if ended:
        shell.ledger.fail_delivery(delivery.id, now=NOW, **ended)
    else:
        shell.ledger.delivered(delivery.id, NOW)


def test_a_delivery_stands_once_in_the_timeline(shell: Shell) -> None:
    """By its own row, which names the destination; the event that says the same is left out."""
    film(shell, judged=TO_AI)
    delivered(shell)
    with signed_in(shell, Role.VIEWER) as client:
        page = client.get("/films/1").text
    assert page.count("original delivered to chest-ai") == 1
    assert "courier" not in page


def test_why_says_what_became_of_a_film_in_a_sentence(shell: Shell) -> None:
    """Waiting for the gates; held, and for what; released by whom; delivered when."""
    film(shell, judged=None)
    assert told(shell) == "It has waited to be examined since T."
    job = claimed(shell.ledger)
    assert told(shell) == "It is being examined now."
    shell.ledger.judge(job, HELD, now=NOW)
    assert (
        told(shell) == "It has waited in quarantine since T: turned 90 degrees clockwise. A person decides."
    )
    hold = shell.ledger.open_hold(1)
    shell.ledger.release(hold, ("chest-ai",), by="ann", note_text="", now=NOW)
    assert told(shell) == "ann released it at T. It is on its way to chest-ai since T."
    delivered(shell)
    assert told(shell) == "ann released it at T. It was delivered to chest-ai at T."


def test_why_says_their_words_where_a_delivery_failed(shell: Shell) -> None:
    film(shell, judged=TO_AI)
    delivered(shell, error="0xA700 out of disk", trouble=Trouble.OUT_OF_RESOURCES)
    assert "could not be delivered to chest-ai: it is out of resources (“0xA700 out of disk”)" in told(shell)


def test_why_names_the_rule_that_withheld_a_film(shell: Shell) -> None:
    hand = Decision(Act.WITHHOLD, (Reason.OTHER_PART,), "another part", "a hand")
    film(shell, judged=replace(PASS, decision=hand))
    assert told(shell) == "It was withheld from AI by the rule “another part”: a hand."


def test_why_says_that_no_ai_was_to_get_it_or_did_not_read_it(shell: Shell) -> None:
    body = {"not_read": "NOT_FRONTAL", "why": "a lateral film"}
    film(shell, judged=replace(PASS, unread=(Read("chest14", "1", "d" * 64, body),)))
    assert told(shell) == (
        "It passed the gates, but no AI was to get it: clean. chest14 did not read it: a lateral film."
    )


def test_why_says_that_a_person_rejected_it(shell: Shell) -> None:
    film(shell)
    shell.ledger.reject(shell.ledger.open_hold(1), by="ann", note_text="", now=NOW)
    assert told(shell) == "ann rejected it at T."


def test_the_box_answers_with_a_picture_of_each_film(shell: Shell) -> None:
    """From every page, by any number; the numbers that it shows are masked, and no title has one."""
    film(shell)
    (digest,) = (one.digest for one in shell.ledger.search(Wanted(text="1.2.3")))
    with signed_in(shell, Role.VIEWER) as client:
        assert 'action="/why"' in client.get("/films").text
        for number in ("ACC5551", "PAT7772", "1.2.9", "1.2.3", " 1 "):
            page = client.get("/why", params={"q": number}).text
            assert f"/pictures/{digest}/thumb.jpg" in page
            assert "turned 90 degrees clockwise" in page
            assert "ACC5551" not in page.replace('value="ACC5551"', "")
            assert "<title>Why? " in page
        nothing = client.get("/why?q=NEVER").text
        assert client.get("/why", params={"q": "x" * 65}).status_code == 422
    assert "Nothing of that name was ever received here." in nothing
    assert "The last film came" in nothing
