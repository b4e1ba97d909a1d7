"""Rules that are tried: what they say of the last films, by what decides in the worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select, update
from test_tasks import Says, examine, hip, receive, shell

from gateway.bootstrap import Shell
from gateway.ledger.tables import decisions
from gateway.policies.trying import Tried, try_rules
from gateway.sandbox.decoder import Decoder
from pipelines.film import Answer, Film, Finding, Reason
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.policy import DEFAULT_RULES, Policy

SIZE = (256, 224)
RULES = DEFAULT_RULES.read_text(encoding="utf-8")
MIRROR = '    when: {any: [MIRROR_SUSPECTED, "MIRROR_SUSPECTED?"]}\n    act: '
LENIENT = RULES.replace(f"{MIRROR}quarantine", f"{MIRROR}flag")


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as one:
        yield one


class UntilCorrected(Says):
    """Gates that find a fault in the film and none in its corrected copy."""

    def __init__(self, *faults: tuple[str, Reason]) -> None:
        super().__init__(*faults)
        self._looks = 0

    def look(self, film: Film) -> tuple[Finding, ...]:
        found = super().look(film)
        self.faults = {}
        return found


def word(number: int) -> Dataset:
    ds = phantom_dx("frontal", number, size=SIZE)
    ds.ImageType = ["DERIVED", "PRIMARY", "BONE SUPPRESSED"]
    return ds


def all_ways(tmp_path: Path, decoder: Decoder, **policy: str) -> Shell:
    """Films that came to be decided in every way there is."""
    one = shell(tmp_path, {"regions": ["hip"]}, **policy)

    def came(ds: Dataset, gates: object) -> None:
        receive(one, ds, tmp_path)
        examine(one, decoder, gates)

    turned = ("rotation", Reason.ROTATED_90)
    came(phantom_dx("frontal", 1, size=SIZE), Says())
    came(phantom_dx("frontal", 2, size=SIZE, age="005Y"), Says())
    came(phantom_dx("frontal", 3, size=SIZE), Says(("mirror", Reason.MIRROR_SUSPECTED)))
    came(phantom_dx("frontal", 4, size=SIZE, turn=90), Says(turned))  # a copy that is not clean
    came(phantom_dx("frontal", 5, size=SIZE, turn=90), UntilCorrected(turned))
    no_copy = phantom_dx("frontal", 6, size=SIZE, turn=90)
    no_copy.PresentationLUTShape, no_copy.SamplesPerPixel = "IDENTITY", 1
    no_copy.Columns += 1  # its pixels do not fit
    came(no_copy, Says(turned))
    report = phantom_dx("frontal", 7, size=SIZE)
    del report.PixelData
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    came(report, Says())
    came(hip(8), Says(("anatomy", Reason.OTHER_PART), regions=("hip",)))
    other = phantom_dx("frontal", 9, size=SIZE)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = str(
        one.ledger.film(1).sop_instance_uid
    )
    came(other, Says())
    came(word(10), Says())
    came(phantom_dx("hand", 11, size=SIZE), Says(("anatomy", Reason.OTHER_PART)))
    return one


def tried(one: Shell, text: str, films: int = 5000) -> Tried:
    in_force = one.rules(one.rulebook().in_force().policy)
    return try_rules(one.ledger, in_force, replace(in_force, policy=Policy.load(text)), films)


@pytest.mark.parametrize("policy", [{}, {"correct": "auto"}, {"mode": "observe"}])
def test_the_rules_in_force_say_again_what_was_decided(
    policy: dict[str, str], tmp_path: Path, decoder: Decoder
) -> None:
    """Also of corrected films, of their copies, of other pixels, other regions and what has no pixels."""
    one = all_ways(tmp_path, decoder, **policy)
    result = tried(one, RULES)
    assert result == Tried(films=result.films)
    assert result.films >= 10
    acts = {film.decision for film in one.ledger.films()}
    assert acts == {"pass", "withhold", "quarantine", "correct"}


def test_what_a_rule_would_change_is_named_film_by_film(tmp_path: Path, decoder: Decoder) -> None:
    """The film that a suspected mirror holds would pass, and nothing else would change."""
    one = all_ways(tmp_path, decoder)
    assert LENIENT != RULES
    result = tried(one, LENIENT)
    (change,) = result.changes
    assert (change.film_id, change.was.act, change.would_be.act) == (3, "quarantine", "pass")
    assert change.would_be.flags == ("MIRROR_SUSPECTED",)
    assert result.kinds == {"quarantine → pass": 1}
    assert (result.drifted, result.untold) == ((), 0)


def test_a_copy_that_nobody_gated_is_said_to_be_unseen(tmp_path: Path, decoder: Decoder) -> None:
    """Rules that would correct where a film was held: what the gates say of the copy nobody knows yet."""
    one = shell(tmp_path)
    strict = RULES.replace(
        "    act: correct\n    why: the film is turned", "    act: quarantine\n    why: the film is turned"
    )
    one.rulebook().use(strict, by="ann", note="", now=datetime.now(UTC))
    receive(one, phantom_dx("frontal", 1, size=SIZE, turn=90), tmp_path)
    examine(one, decoder, Says(("rotation", Reason.ROTATED_90)))
    assert one.ledger.film(1).decision == "quarantine"
    (change,) = tried(one, RULES).changes
    assert (change.would_be.act, change.would_be.copy_unseen) == ("correct", True)
    assert tried(one, strict).changes == ()


def test_what_no_rules_decided_and_what_was_not_kept_is_counted(tmp_path: Path, decoder: Decoder) -> None:
    """Films of before, and those that a Key Object rejected: no rule says anything of them."""
    one = all_ways(tmp_path, decoder)
    with one.ledger.writing() as db:
        db.execute(update(decisions).where(decisions.c.film_id == 3).values(grounds=None))
        db.execute(update(decisions).where(decisions.c.film_id == 2).values(grounds=None, rule="rejected"))
    result = tried(one, LENIENT)
    assert (result.changes, result.untold, result.not_by_rules) == ((), 1, 1)


def test_films_that_older_rules_decided_are_told_apart(tmp_path: Path, decoder: Decoder) -> None:
    """They differ from the rules in force, and not because of the rules that are tried."""
    one = all_ways(tmp_path, decoder)
    one.rulebook().use(LENIENT, by="ann", note="", now=datetime.now(UTC))
    result = tried(one, LENIENT)
    assert (result.changes, result.drifted) == ((), (3,))


def test_what_a_person_said_of_a_word_stays_as_the_decision_knew_it(tmp_path: Path, decoder: Decoder) -> None:
    """A ruling that was taken back meanwhile is part of what the film was decided by."""
    one = shell(tmp_path)
    one.ledger.rule("", "BONE", Answer.ALWAYS, by="ann", note_text="", now=datetime.now(UTC))
    receive(one, word(1), tmp_path)
    examine(one, decoder, Says())
    assert one.ledger.film(1).decision == "pass"
    one.ledger.take_back("", "BONE", by="ann", note_text="", now=datetime.now(UTC))
    assert tried(one, RULES).drifted == ()


def test_no_more_films_than_were_asked_for_newest_first(tmp_path: Path, decoder: Decoder) -> None:
    one = all_ways(tmp_path, decoder)
    told: list[int] = []
    in_force = one.rules(Policy.default())
    assert try_rules(one.ledger, in_force, in_force, 4, told.append).films == 4
    assert told == [1, 2, 3, 4]


def test_what_is_kept_to_try_rules_on_says_of_no_patient(tmp_path: Path, decoder: Decoder) -> None:
    """Whose film it is decides nothing: it stands where people search, and nowhere a second time."""
    one = shell(tmp_path)
    film = phantom_dx("frontal", 1, size=SIZE)
    film.PatientID = film.AccessionNumber = film.StudyID = "CANARY"
    receive(one, film, tmp_path)
    examine(one, decoder, Says())
    with one.ledger.reading() as db:
        kept = str(db.execute(select(decisions)).all())
    assert "CHEST" in kept
    assert "CANARY" not in kept
    assert one.ledger.searched(1).patient_id == "CANARY"
