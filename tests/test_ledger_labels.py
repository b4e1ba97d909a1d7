"""What people say of films: kept, superseded, taken back, compared; and which films come up blind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from ledger_films import HELD, NOW, PASS, claimed, ledger, received

from gateway.errors import NotFound
from gateway.ledger import Ledger
from gateway.ledger.labelling.derived import said_by
from gateway.ledger.labelling.labels import LabelsWanted
from gateway.ledger.labelling.words import BadLabel, Said, What, checked
from gateway.ledger.records import Judged
from pipelines.film import Finding, Operations, Verdict

__all__ = ["ledger"]

GOOD = tuple(Finding(gate, Verdict.GOOD, 0.99) for gate in ("anatomy", "rotation", "inversion", "mirror"))


def judged_films(ledger: Ledger, *all_judged: Judged) -> None:
    """Films 1, 2, ..., decided as told."""
    for number, judged in enumerate(all_judged, 1):
        ledger.record([received(f"1.{number}", f"{number % 16:x}")])
        ledger.judge(claimed(ledger), judged, now=NOW)


def standing(ledger: Ledger, film_id: int = 1) -> list[tuple[str, str, str]]:
    return [(label.what, label.value, label.by) for label in ledger.labels_of(film_id)]


def one(film_id: int, act_id: int | None = None, **labels: object) -> Said:
    return Said(film_id, checked(labels), "relabel", act_id)


def test_a_later_word_supersedes_the_same_persons_and_an_undo_takes_it_back(ledger: Ledger) -> None:
    judged_films(ledger, replace(PASS, findings=GOOD))
    ledger.label([one(1, 1, view="lateral", part="chest")], by="ann", now=NOW)
    ledger.label([one(1, 2, view="frontal", part="chest")], by="ann", now=NOW)
    assert standing(ledger) == [("view", "frontal", "ann"), ("part", "chest", "ann")]
    assert ledger.take_back_labels([2], by="ann", now=NOW) == 2
    assert standing(ledger) == [("view", "lateral", "ann"), ("part", "chest", "ann")]
    assert len(ledger.labels_of(1, ended=True)) == 4  # nothing is erased
    assert [(e["what"], e.get("view")) for e in ledger.events(1) if e["what"] == "label"] == [
        ("label", "lateral"),
        ("label", "frontal"),
    ]


@pytest.mark.parametrize("acts", [[1], [2], [1, 2], [2, 1], [3]])
def test_acts_are_taken_back_in_any_order(ledger: Ledger, acts: list[int]) -> None:
    """What is left of three is what the last of the others said."""
    judged_films(ledger, PASS)
    for number, value in enumerate(("90", "180", "270"), 1):
        ledger.label([one(1, number, turned=value)], by="ann", now=NOW)
    ledger.take_back_labels(acts, by="ann", now=NOW)
    last = max({1, 2, 3} - set(acts))
    assert [value for _, value, _ in standing(ledger)] == [{1: "90", 2: "180", 3: "270"}[last]]


def test_people_and_gates_that_differ_are_found(ledger: Ledger) -> None:
    judged_films(ledger, replace(PASS, findings=GOOD), replace(PASS, findings=GOOD))
    ledger.label(
        [one(1, view="lateral", part="chest"), one(2, view="frontal", part="chest")], by="ann", now=NOW
    )
    ledger.label([one(1, view="frontal", part="chest")], by="ben", now=NOW)
    (against,) = ledger.labels(LabelsWanted(differs="gate"))
    assert (against.film_id, against.by, against.value, against.gate_says) == (1, "ann", "lateral", "frontal")
    assert {label.by for label in ledger.labels(LabelsWanted(differs="people"))} == {"ann", "ben"}
    counts = ledger.label_counts()
    assert (counts.films, counts.people, counts.against_gate, counts.between_people) == (2, 2, 1, 1)
    agreed, disagreed = ledger.labelled()
    assert ([film.film_id for film in agreed], disagreed) == ([2], 1)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"views": "frontal"}, "nothing is known of 'views'"),
        ({"view": "PA"}, "frontal, lateral, not_chest"),
        ({"view": "not_chest", "part": "chest"}, "cannot be not_chest"),
        ({"lung_box": [0.5, 0.5, 0.5, 0.9]}, "no area"),
        ({"lung_box": "1 2 3"}, "four numbers"),
        ({"lung_box": [10**400, 0, 1, 1]}, "four numbers"),
        ({"lung_box": [0.1, 0.1, 0.9, 1.5]}, "outside"),
        ({"lung_box": [0, 0, float("nan"), 1]}, "no area"),
        ({"turned": 45}, "0, 90, 180, 270"),
    ],
)
def test_what_is_no_label_is_refused_in_words(labels: dict[str, object], words: str) -> None:
    with pytest.raises(BadLabel, match=words):
        checked(labels)


@pytest.mark.parametrize(
    ("act", "facts", "said"),
    [
        ("release", {"reasons": ["INVERTED", "HEADER_CONTRADICTS"]}, {"polarity": "normal"}),
        (
            "release",
            {"reasons": ["ROTATION_UNSURE", "MIRROR_SUSPECTED"]},
            {"turned": "0", "mirror": "normal"},
        ),
        ("release", {"reasons": ["UNKNOWN_ANATOMY"]}, {}),
        (
            "accept",
            {"operations": Operations(turn=270)},
            {"turned": "90", "polarity": "normal", "exposure": "usable"},
        ),
        (
            "correct",
            {"operations": Operations(invert=True), "flip": True},
            {"turned": "0", "polarity": "inverted", "exposure": "usable", "mirror": "flipped"},
        ),
        ("reject", {"reason": "111212"}, {"exposure": "unusable"}),
        ("reject", {"reason": "113037", "labels": {What.PART: "hand"}}, {"part": "hand"}),
        ("resend", {"reasons": ["INVERTED"]}, {}),
    ],
)
def test_an_act_says_no_more_than_it_does(act: str, facts: dict[str, object], said: dict[str, str]) -> None:
    assert said_by(act, **facts) == said  # type: ignore[arg-type]


def drawn(ledger: Ledger, share: float, by: str = "ann") -> list[int]:
    """The films that come up, in their order; each answer is yes."""
    while ledger.draw_blind(share):
        pass
    films = []
    while film := ledger.next_blind(by):
        films.append(film.film_id)
        ledger.answer_blind(film.id, good=True, said={}, by=by, now=NOW)
    return films


def test_passed_films_come_up_by_their_share_and_held_ones_among_them(ledger: Ledger) -> None:
    """Of 300 passed films and 40 held ones; the draw is a binomial whose 99.99 % range is asked for."""
    held = replace(HELD, findings=GOOD)
    judged_films(ledger, *[held if number % 8 == 0 else PASS for number in range(340)])
    films = drawn(ledger, 0.1)
    passed = [film for film in films if (film - 1) % 8]
    assert 12 <= len(passed) <= 52
    assert len(films) - len(passed) >= 8  # of 43, half are drawn
    (seen,) = ledger.sampled(now=NOW)
    assert (seen.passed, seen.drawn, seen.answered, seen.bad) == (297, len(passed), len(passed), 0)


def test_every_passed_film_comes_up_once_at_a_share_of_one(ledger: Ledger) -> None:
    """A film that is gated again, and passes again, is neither counted nor drawn a second time."""
    judged_films(ledger, PASS, PASS)
    assert ledger.gate_again(1, by="ann", now=NOW)
    ledger.judge(claimed(ledger), PASS, now=NOW)
    assert sorted(drawn(ledger, 1.0)) == [1, 2]
    (seen,) = ledger.sampled(now=NOW, days=30)
    assert (seen.passed, seen.drawn, seen.answered) == (2, 2, 2)
    assert ledger.sampled(now=NOW + timedelta(days=60), days=30) == []


def test_a_bad_answer_is_a_label_and_an_event_and_can_be_taken_back(ledger: Ledger) -> None:
    judged_films(ledger, replace(PASS, findings=GOOD))
    ledger.draw_blind(1.0)
    film = ledger.next_blind("ann")
    assert film is not None
    answer = ledger.answer_blind(film.id, good=False, said=checked({"turned": "90"}), by="ann", now=NOW)
    assert (answer.passed, answer.good) == (True, False)
    assert standing(ledger) == [("turned", "90", "ann")]
    assert [event["good"] for event in ledger.events(1) if event["what"] == "blind check"] == [False]
    assert [(seen.answered, seen.bad) for seen in ledger.sampled(now=NOW)] == [(1, 1)]
    with pytest.raises(NotFound):  # a second person was slower
        ledger.answer_blind(film.id, good=True, said={}, by="ben", now=NOW)
    with pytest.raises(NotFound):
        ledger.take_back_blind(film.id, by="ben", now=NOW)
    ledger.take_back_blind(film.id, by="ann", now=NOW)
    assert (standing(ledger), ledger.next_blind("ann")) == ([], film)


def test_nobody_is_asked_about_a_film_they_spoke_of(ledger: Ledger) -> None:
    judged_films(ledger, PASS)
    ledger.draw_blind(1.0)
    ledger.label([one(1, view="frontal")], by="ann", now=NOW)
    assert ledger.next_blind("ann") is None
    assert ledger.next_blind("ben") is not None


def test_a_film_that_is_put_off_comes_last(ledger: Ledger) -> None:
    judged_films(ledger, PASS, PASS)
    ledger.draw_blind(1.0)
    order: Sequence[object] = [film for _ in range(2) if (film := ledger.next_blind("ann"))]
    first = ledger.next_blind("ann")
    assert first is not None
    assert order == [first, first]
    ledger.put_off_blind(first.id)
    second = ledger.next_blind("ann")
    assert second is not None
    assert second.film_id != first.film_id


def test_two_consoles_that_draw_at_once_count_each_film_once(ledger: Ledger) -> None:
    judged_films(ledger, PASS, PASS, PASS)
    assert [ledger.draw_blind(1.0, most=2) for _ in range(3)] == [2, 1, 0]
    assert [seen.passed for seen in ledger.sampled(now=NOW)] == [3]


def test_the_labels_of_a_thousand_films_are_one_request(ledger: Ledger) -> None:
    """More than SQLite takes in one IN (...)."""
    ledger.record([received(f"1.{number}", f"{number % 16:x}") for number in range(1, 1101)])
    said = [one(number, 5, view="frontal") for number in range(1, 1101)]
    assert len(ledger.label(said, by="ann", now=NOW)) == 1100
    assert ledger.take_back_labels([5], by="ann", now=NOW) == 1100
    assert ledger.label_counts().films == 0


def test_a_label_of_a_film_that_is_not_there_is_refused(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        ledger.label([one(7, view="frontal")], by="ann", now=NOW)
