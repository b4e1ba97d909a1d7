"""Acts over HTTP: what people do with films, an answer for each."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_client import add_person, sign_in, signed_in, stranger
from ledger_films import NOW, claimed, received
from starlette.testclient import TestClient

from gateway.bootstrap import Shell, now
from gateway.console.doors import Role
from gateway.console.pages.audit import _details
from gateway.ledger.acting.table import TABLE, DoneBy, FilmState
from gateway.ledger.records import Judged
from gateway.settings import Settings
from pipelines.film import REJECT_REASONS, Act, Decision, Reason

HELD = Judged(
    Decision(Act.QUARANTINE, (Reason.BLANK,), "blank", "blank"), (), "enforce", {}, hold=True, takers=("ai",)
)
SETTINGS = {
    "destinations": {
        "ai": {"kind": "folder", "path": "ai"},
        "archive": {"kind": "folder", "path": "archive"},
    },
    "routes": {"always": ["archive"], "pass": ["ai"]},
}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Three films that are held."""
    shell = Shell.open(Settings(state=tmp_path / "state", **SETTINGS), migrate_first=True)
    for number in range(3):
        shell.ledger.record([received(f"1.2.{number}", f"{number}")])
        shell.ledger.judge(claimed(shell.ledger), HELD, now=NOW)
    yield shell
    shell.close()


@pytest.fixture
def client(shell: Shell) -> Iterator[TestClient]:
    with signed_in(shell) as client:
        yield client


def act(client: TestClient, name: str, *films: int, **more: object) -> list[dict[str, object]]:
    answer = client.post("/api/acts", json={"act": name, "films": [{"film": film} for film in films], **more})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def test_a_release_waits_and_its_undo_is_as_if_it_had_never_been(client: TestClient, shell: Shell) -> None:
    """Ten seconds, in which no courier is given it."""
    (released,) = act(client, "release", 1)
    assert (released["ok"], released["state"]) == (True, "going out")
    assert released["until"]
    assert shell.ledger.let_go(now()) == 0
    undone = client.post("/api/acts", json={"act": "undo", "acts": [released["act_id"]]}).json()["results"]
    assert [(one["ok"], one["state"]) for one in undone] == [(True, "held")]
    assert shell.ledger.open_hold(1).closed_by is None
    assert shell.ledger.film(1).deliveries[0]["state"] == "cancelled"


def test_many_films_are_one_request_with_an_answer_each(client: TestClient) -> None:
    """In the order asked, also of those that it cannot be done with."""
    answers = act(client, "reject", 3, 99, 1, reason="111210", note="blurred")
    assert [(one["film"], one["ok"]) for one in answers] == [(3, True), (99, False), (1, True)]
    assert "there is no such film" in str(answers[1]["error"])
    (mine, _) = client.get("/api/acts/mine").json()["acts"]
    assert (mine["film"], mine["note"], mine["detail"]["reason"]) == (1, "blurred", "111210")
    assert (
        client.get("/api/acts/mine", params={"before": mine["id"], "limit": 1}).json()["acts"][0]["film"] == 3
    )


WRONG: dict[str, object] = {
    "no act": {"films": [{"film": 1}]},
    "an act that nobody knows": {"act": "burn", "films": [{"film": 1}]},
    "no film": {"act": "release"},
    "too many films": {"act": "release", "films": [{"film": 1}] * 2001},
    "a film that is no number": {"act": "release", "films": [{"film": "x"}]},
    "a film beyond all numbers": {"act": "release", "films": [{"film": 2**80}]},
    "a key that nobody knows": {"act": "release", "films": [{"film": 1, "hld": 2}]},
    "undo of films": {"act": "undo", "films": [{"film": 1}]},
    "a turn by some degrees": {"act": "correct", "films": [{"film": 1}], "operations": {"rotate": 45}},
    "a crop of nothing": {"act": "correct", "films": [{"film": 1}], "operations": {"crop": [0.5, 0, 0.5, 1]}},
    "a crop that is no number": {
        "act": "correct",
        "films": [{"film": 1}],
        "operations": {"crop": ["NaN"] * 4},
    },
    "a list": [],
}


@pytest.mark.parametrize("wish", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_wish_is_refused_with_words(client: TestClient, shell: Shell, wish: object) -> None:
    answer = client.post("/api/acts", json=wish)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert len(shell.ledger.holds()) == 3


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"act": "release", "to": ["nowhere"]}, "there is no destination 'nowhere'"),
        ({"act": "reject", "reason": "1"}, "no reason of the Standard"),
        ({"act": "correct"}, "needs something to do"),
        ({"act": "relabel"}, "a label needs words"),
        ({"act": "relabel", "labels": {"view": "sideways"}}, "view is not 'sideways'"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_whole(
    client: TestClient, shell: Shell, wish: dict[str, object], words: str
) -> None:
    answer = client.post("/api/acts", json={"films": [{"film": 1}], **wish})
    assert answer.status_code == 409
    assert words in answer.json()["detail"]
    assert len(shell.ledger.holds()) == 3


def test_who_only_looks_decides_nothing(shell: Shell) -> None:
    with signed_in(shell, Role.VIEWER) as viewer:
        assert viewer.post("/api/acts", json={"act": "release", "films": [{"film": 1}]}).status_code == 403
        assert viewer.get("/api/acts/table").status_code == 200
        assert viewer.get("/audit").status_code == 200
    assert len(shell.ledger.holds()) == 3


def test_an_admin_undoes_what_a_reviewer_did_and_no_reviewer_does(client: TestClient, shell: Shell) -> None:
    (done,) = act(client, "reject", 1)
    add_person(shell, "other", Role.REVIEWER)
    undo = {"act": "undo", "acts": [done["act_id"]]}
    with stranger(shell) as other:
        sign_in(other, "other")
        (refused,) = other.post("/api/acts", json=undo).json()["results"]
    with signed_in(shell, Role.ADMIN) as admin:
        (back,) = admin.post("/api/acts", json=undo).json()["results"]
    assert ("reviewer did this" in refused["error"], back["ok"]) == (True, True)


def test_a_label_is_written_through_an_act_and_taken_back(client: TestClient, shell: Shell) -> None:
    (done,) = act(client, "relabel", 1, labels={"view": "not_chest", "part": "hand"})
    assert {one.what.value: one.value for one in shell.ledger.labels_of(1)} == {
        "view": "not_chest",
        "part": "hand",
    }
    client.post("/api/acts", json={"act": "undo", "acts": [done["act_id"]]})
    assert shell.ledger.labels_of(1) == []


def test_the_table_that_the_page_gets_is_the_cores(client: TestClient) -> None:
    shown = client.get("/api/acts/table").json()
    pairs = {(FilmState(state), DoneBy(act)) for state, acts in shown["states"].items() for act in acts}
    assert pairs == TABLE
    assert shown["reasons"] == REJECT_REASONS


def test_the_audit_page_shows_who_did_what_and_narrows(client: TestClient, shell: Shell) -> None:
    """With the undo beside one's own, and no formula for a spreadsheet in the file."""
    act(client, "reject", 1, note='=HYPERLINK("x")<b>', reason="111210")
    act(client, "note", 2, note="asked the ward")
    text = client.get("/audit").text
    assert "Motion blur" in text
    assert "&lt;b&gt;" in text
    assert text.count("data-undo=") == 2
    one = client.get("/audit", params={"film": 2, "who": "", "what": ""}).text
    assert ("asked the ward" in one, "Motion blur" in one) == (True, False)
    assert "Nobody did such a thing" in client.get("/audit", params={"who": "nobody"}).text
    rows = list(csv.reader(client.get("/audit.csv").text.splitlines()))
    assert [row[5] for row in rows[1:3]] == ["asked the ward", '\'=HYPERLINK("x")<b>']
    assert client.get("/audit", params={"film": "x"}).status_code == 422
    assert client.get("/audit", params={"last_day": "9999-12-31"}).status_code == 200


def test_the_detail_of_an_act_is_in_words() -> None:
    """No row has a value of Python's in it."""
    detail = {"operations": {"turn": 270, "invert": True, "flip": False}, "good": False, "to": ["a", "b"]}
    assert list(_details(detail)) == ["turn 270, invert", "good: no", "to a, b"]


def test_the_audit_goes_on_page_by_page(client: TestClient, shell: Shell) -> None:
    for _ in range(51):
        act(client, "note", 1, 2, note="again")
    first = client.get("/audit", params={"what": "note"}).text
    (older,) = re.findall(r'href="(/audit[^"]*before=\d+)" rel="next"', first)
    second = client.get(older.replace("&amp;", "&")).text
    assert (first.count("data-undo="), second.count("data-undo=")) == (100, 2)


REQUEST, ANOTHER = "a" * 32, "b" * 32


def test_the_same_request_once_more_is_the_same_act(client: TestClient, shell: Shell) -> None:
    """Its answer was lost. Also of a film that could not be decided on, and after all of it was undone."""
    first = act(client, "release", 1, 99, 2, request=REQUEST)
    again = act(client, "release", 1, 99, 2, request=REQUEST)
    assert again == first
    assert [one["ok"] for one in first] == [True, False, True]
    undo = {"act": "undo", "acts": [first[0]["act_id"]], "request": ANOTHER}
    back = client.post("/api/acts", json=undo).json()
    assert client.post("/api/acts", json=undo).json() == back
    assert (back["results"][0]["ok"], back["results"][0]["state"]) == (True, "held")
    (late, *_) = act(client, "release", 1, 99, 2, request=REQUEST)
    assert (late["act_id"], late["state"]) == (first[0]["act_id"], "held")
    assert shell.ledger.open_hold(1).closed_by is None
    assert [one.act.value for one in shell.ledger.acts_by("reviewer")] == ["undo", "release", "release"]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("note", {"note": "seen"}),
        ("relabel", {"labels": {"part": "hand"}}),
        ("reject", {"reason": "111210"}),
        ("gate-again", {}),
    ],
)
def test_each_act_is_repeated_without_being_done_twice(
    client: TestClient, shell: Shell, name: str, more: dict[str, object]
) -> None:
    (first,) = act(client, name, 1, request=REQUEST, **more)
    (again,) = act(client, name, 1, request=REQUEST, **more)
    assert (again["ok"], again["act_id"]) == (True, first["act_id"])
    assert len(shell.ledger.acts_on(1)) == 1
    (anew,) = act(client, "note", 1, note="seen", request=ANOTHER)
    assert anew["act_id"] != first["act_id"]


def test_what_became_of_a_request_can_be_asked(client: TestClient, shell: Shell) -> None:
    """By who made it: another person's request of the same id is another request."""
    act(client, "release", 1, 2, request=REQUEST)
    became = client.get("/api/acts/mine", params={"request": REQUEST}).json()["acts"]
    assert [(one["film"], one["act"]) for one in became] == [(1, "release"), (2, "release")]
    assert client.get("/api/acts/mine", params={"request": ANOTHER}).json() == {"acts": []}
    assert client.get("/api/acts/mine", params={"request": "x"}).status_code == 422
    add_person(shell, "other", Role.REVIEWER)
    with stranger(shell) as other:
        sign_in(other, "other")
        assert other.get("/api/acts/mine", params={"request": REQUEST}).json() == {"acts": []}
        assert act(other, "note", 1, note="seen", request=REQUEST)[0]["ok"]


def test_an_id_of_a_request_means_one_act(client: TestClient, shell: Shell) -> None:
    act(client, "release", 1, request=REQUEST)
    answer = client.post("/api/acts", json={"act": "reject", "films": [{"film": 2}], "request": REQUEST})
    assert answer.status_code == 409
    assert "a new act needs a new id" in answer.json()["detail"]
    assert len(shell.ledger.holds()) == 2
    wrong = {"act": "note", "films": [{"film": 2}], "note": "x", "request": "1; --"}
    assert client.post("/api/acts", json=wrong).status_code == 422
