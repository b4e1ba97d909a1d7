"""Held films that look alike stand beside each other."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from math import dist

from ledger_films import HELD, NOW, claimed, ledger, received

from gateway.ledger import Ledger
from gateway.ledger.picturing.features import packed, unpacked
from gateway.ledger.picturing.likeness import in_order
from pipelines.film import Finding, Verdict

__all__ = ["ledger"]


def held(ledger: Ledger, number: int, place: tuple[float, ...], model: str = "m") -> None:
    finding = Finding("anatomy", Verdict.BAD, model_digest=model, place=place)
    ledger.record([received(f"1.{number}", f"{number:x}")])
    ledger.judge(claimed(ledger), replace(HELD, findings=(finding,)), now=NOW)


def test_an_order_has_every_place_once_and_neighbours_alike() -> None:
    """Nine kinds in one heap come apart."""
    chance = random.Random(7)
    centres = [[chance.gauss(0, 5) for _ in range(8)] for _ in range(9)]
    places = [tuple(x + chance.gauss(0, 1) for x in centres[number % 9]) for number in range(500)]
    order = in_order(places)
    assert sorted(order) == list(range(500))
    steps = list(pairwise(order))
    assert sum(one % 9 == other % 9 for one, other in steps) > 0.95 * len(steps)


def test_equal_places_and_none_are_no_trouble() -> None:
    assert in_order([]) == []
    assert sorted(in_order([(1.0, 2.0)] * 60)) == list(range(60))


def test_open_holds_are_ordered_by_their_places(ledger: Ledger) -> None:
    """Two of a kind are neighbours, and a film without a place comes last."""
    for number, place in enumerate([(0.0, 0.0), (9.0, 9.0), (0.1, 0.0), (9.0, 9.1)], 1):
        held(ledger, number, place)
    held(ledger, 5, ())
    order = ledger.similar()
    assert order[-1] == 5
    assert {frozenset(order[:2]), frozenset(order[2:4])} == {frozenset({1, 3}), frozenset({2, 4})}


def test_the_nearest_to_a_film_come_first(ledger: Ledger) -> None:
    """By the film that a person looks at; places of another network say nothing of it."""
    for number, place in enumerate([(0.0, 0.0), (5.0, 0.0), (1.0, 0.0)], 1):
        held(ledger, number, place)
    held(ledger, 4, (0.0, 0.0), model="another")
    assert ledger.similar(to=1) == [1, 3, 2, 4]


def test_examined_again_a_film_has_its_new_place(ledger: Ledger) -> None:
    held(ledger, 1, (0.0, 0.0))
    held(ledger, 2, (5.0, 5.0))
    held(ledger, 3, (4.0, 4.0))
    assert ledger.similar(to=1) == [1, 3, 2]
    assert ledger.gate_again(1, by="ann", now=NOW)
    finding = Finding("anatomy", Verdict.BAD, model_digest="m", place=(5.0, 5.1))
    ledger.judge(claimed(ledger), replace(HELD, findings=(finding,)), now=NOW)
    assert ledger.similar(to=1) == [1, 2, 3]


def test_half_precision_keeps_places_apart() -> None:
    """16 bits of each number are enough for who is near whom, and infinity is no place."""
    place = (0.001, 1.5, -37.25, 1e9)
    assert dist(unpacked(packed(place))[:3], place[:3]) < 1e-3
    assert unpacked(packed(place))[3] == 65504.0


def test_a_place_that_is_no_number_is_not_kept(ledger: Ledger) -> None:
    held(ledger, 1, (float("nan"), 0.0))
    assert ledger.similar() == [1]


def test_a_digest_is_known_by_film_copy_and_result(ledger: Ledger) -> None:
    ledger.record([received("1.1", "a")])
    assert ledger.knows("a" * 64)
    assert not ledger.knows("b" * 64)
