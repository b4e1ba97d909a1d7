"""Key Objects by which rooms and archives reject instances, as IHE's IOCM has them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from gateway.errors import PersonDecided
from gateway.ledger import Ledger
from gateway.ledger.records import CopyMade, CopyState, Job, Judged, Outcome, Received, Said
from gateway.sandbox.decoder import Decoder
from pipelines.film import REJECTION_TITLES, Act, Decision, Reason, Rejected
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.rejected import rejected_by
from pipelines.report.identity import Equipment
from pipelines.report.rejection import rejection_note

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 20, 13, 0, tzinfo=UTC)
SAID = Said(Rejected("113001", ("1.2.3", "1.2.4")), "ROOM1")
NOT_A_FILM = Judged(Decision(Act.WITHHOLD, (Reason.NOT_A_FILM,), "not a film"), (), "enforce", {})
PASS = Judged(Decision(Act.PASS, rule="pass"), (), "enforce", {}, send_original_to=("ai",))
OTHER_PIXELS = Judged(
    Decision(Act.QUARANTINE, (Reason.OTHER_PIXELS,), "other-pixels", "other"), (), "enforce", {}, hold=True
)
HELD = Judged(Decision(Act.QUARANTINE, (Reason.BLANK,), "blank", "blank"), (), "enforce", {}, hold=True)


def key_object(film: Dataset, title: str = "RejectedForQualityReasons") -> Dataset:
    """As another maker writes it; the referenced film alone is its evidence."""
    content = hd.ko.KeyObjectSelection(getattr(codes.DCM, title), [film])
    return hd.ko.KeyObjectSelectionDocument(
        [film], content, generate_uid(), 1, generate_uid(), 1, manufacturer="room"
    )


def saved(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("title", "code"),
    [
        ("RejectedForQualityReasons", "113001"),
        ("RejectedForPatientSafetyReasons", "113037"),
        ("IncorrectModalityWorklistEntry", "113038"),
        ("DataRetentionPolicyExpired", "113039"),
    ],
)
def test_what_it_names_is_rejected(tmp_path: Path, title: str, code: str) -> None:
    """All titles of CID 7010 that reject."""
    film = phantom_dx("frontal", 3, size=(64, 64))
    assert code in REJECTION_TITLES
    found = rejected_by(saved(key_object(film, title), tmp_path / "ko.dcm"))
    assert found == Rejected(code, (film.SOPInstanceUID,))


def test_other_key_objects_reject_nothing(tmp_path: Path) -> None:
    """ "Of Interest" is a Key Object, too."""
    film = phantom_dx("frontal", 3, size=(64, 64))
    assert rejected_by(saved(key_object(film, "OfInterest"), tmp_path / "interest.dcm")) is None
    assert rejected_by(saved(film, tmp_path / "film.dcm")) is None


def test_the_note_of_another_gateway_is_heeded(tmp_path: Path) -> None:
    """A person rejected the film there; what this gateway made is never examined when it comes back."""
    film = phantom_dx("frontal", 3, size=(64, 64))
    note = rejection_note(film, [Reason.BLANK], who="ann", note="", at=NOW, equipment=Equipment("1", {}, UTC))
    assert rejected_by(saved(note, tmp_path / "note.dcm")) == Rejected("113001", (film.SOPInstanceUID,))


def test_a_uid_with_leading_zeros_is_rejected_like_any_other(tmp_path: Path) -> None:
    """The listener takes films with such UIDs: senders write them."""
    film = phantom_dx("frontal", 3, size=(64, 64))
    uid, file = film.SOPInstanceUID, saved(key_object(film), tmp_path / "ko.dcm")
    zero = f"{uid[:-8]}.0{uid[-6:]}"
    file.write_bytes(file.read_bytes().replace(uid.encode(), zero.encode()))
    assert rejected_by(file) == Rejected("113001", (zero,))


def test_the_child_reads_it(tmp_path: Path) -> None:
    film = phantom_dx("frontal", 3, size=(64, 64))
    with Decoder() as decoder:
        named = decoder.rejected(saved(key_object(film), tmp_path / "ko.dcm"))
        nothing = decoder.rejected(saved(film, tmp_path / "film.dcm"))
    assert (named, nothing) == (Rejected("113001", (film.SOPInstanceUID,)), None)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite", busy_timeout_s=0.2, migrate_first=True)


def received(uid: str, digest: str = "a") -> Received:
    return Received("1.2", uid, "1.2.840.10008.1.2.1", digest * 64, 10, None, NOW)


def claimed(ledger: Ledger) -> Job:
    job = ledger.claim("w")
    assert job is not None
    return job


def rejects(ledger: Ledger, said: Said = SAID, mode: str = "enforce") -> None:
    """A Key Object comes and is examined; nothing else may be ready."""
    ledger.record([received(f"9.{said.rejected.code}", "f")])
    judged = Judged(NOT_A_FILM.decision, (), mode, {}, said=said)
    ledger.judge(claimed(ledger), judged, now=LATER)


def test_a_rejected_film_is_withdrawn_from_ai(ledger: Ledger) -> None:
    """What is owed to AI is taken back, the archive's is not; the decision says who rejected it."""
    ledger.record([received("1.2.3")], always=("archive",))
    ledger.judge(claimed(ledger), PASS, now=NOW)
    rejects(ledger)
    film = ledger.film("1.2.3")
    assert (film.decision, film.reasons) == ("withhold", (Reason.REJECTED,))
    assert "Rejected for Quality Reasons by ROOM1 on 2026-11-20" in str(film.why)
    assert {d["destination"]: d["state"] for d in film.deliveries} == {
        "archive": "pending",
        "ai": "cancelled",
    }


def test_a_held_film_that_is_rejected_waits_for_nobody(ledger: Ledger) -> None:
    ledger.record([received("1.2.3")])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    rejects(ledger)
    assert ledger.holds() == []
    (closed,) = ledger.holds(None)
    assert (closed.state, closed.closed_by) == ("rejected", "ROOM1")


def test_an_examination_under_way_does_not_bring_it_back(ledger: Ledger) -> None:
    """The Key Object is examined by another worker meanwhile."""
    ledger.record([received("1.2.3")])
    job = claimed(ledger)
    rejects(ledger)
    ledger.judge(job, PASS, now=LATER)
    film = ledger.film("1.2.3")
    assert (film.decision, film.deliveries) == ("withhold", ())


@pytest.mark.parametrize("known", [True, False])
def test_what_was_rejected_and_comes_again_is_kept_and_not_gated(ledger: Ledger, known: bool) -> None:
    """The same bytes, another version, and an object that was rejected before it ever came."""
    if known:
        ledger.record([received("1.2.3")])
        ledger.judge(claimed(ledger), PASS, now=NOW)
    rejects(ledger)
    first, other = ledger.record([received("1.2.3"), received("1.2.3", "b")], always=("archive",))
    assert (first.outcome, first.rejected) == (Outcome.SAME if known else Outcome.NEW, "113001")
    assert (other.outcome, other.rejected) == (Outcome.VERSION, "113001")
    assert (ledger.ready_jobs(), ledger.claim("w")) == (0, None)
    assert ledger.film("1.2.3").reasons == (Reason.REJECTED,)
    assert ledger.due_destinations(NOW) == {"archive": 1 if known else 2}


def test_a_person_takes_a_rejection_back(ledger: Ledger) -> None:
    """Only who says that it is known; then it is a film like any other."""
    rejects(ledger)
    (row,) = ledger.record([received("1.2.3")])
    with pytest.raises(PersonDecided, match="Rejected for Quality Reasons by ROOM1"):
        ledger.gate_again(row.film_id, by="ann", now=LATER)
    assert ledger.gate_again(row.film_id, by="ann", now=LATER, rejected=True)
    ledger.judge(claimed(ledger), PASS, now=LATER)
    assert ledger.film("1.2.3").decision == "pass"
    assert ledger.record([received("1.2.3")])[0].rejected == ""


def test_observing_notes_it_and_withdraws_nothing(ledger: Ledger) -> None:
    """The AI gets everything as before; once the gateway enforces, the note counts."""
    ledger.record([received("1.2.3")])
    ledger.judge(claimed(ledger), PASS, now=NOW)
    rejects(ledger, mode="observe")
    film = ledger.film("1.2.3")
    assert (film.decision, film.deliveries[0]["state"]) == ("pass", "pending")
    for uid, digest in (("1.2.3", "b"), ("1.2.4", "9")):
        (row,) = ledger.record([received(uid, digest)], observing=True)
        assert (row.rejected, claimed(ledger).film_id) == ("", row.film_id)
    assert ledger.record([received("1.2.3")])[0].rejected == "113001"


@pytest.mark.parametrize("end", ["send again", "retry", "put back", "courier died"])
def test_no_version_of_a_rejected_film_is_tried_again(ledger: Ledger, end: str) -> None:
    """The first version passed, the second was held when the room rejected the film: neither goes to AI."""
    ledger.record([received("1.2.3")])
    ledger.judge(claimed(ledger), PASS, now=NOW)
    (sending,) = ledger.claim_deliveries("ai", 1, NOW)
    if end == "send again":
        ledger.fail_delivery(sending.id, error="no", now=NOW)
    ledger.record([received("1.2.3", "b")])
    ledger.judge(claimed(ledger), OTHER_PIXELS, now=NOW)
    rejects(ledger)
    if end == "send again":
        assert ledger.send_again(sending.film_id, by="ann", now=LATER) == 0
    elif end == "retry":
        ledger.retry_delivery(sending.id, error="no", at=LATER, now=LATER)
    elif end == "put back":
        ledger.put_back(sending.id, LATER)
    else:
        ledger.requeue_sending(now=LATER)
    assert [one["state"] for one in ledger.film("1.2.3").deliveries] == ["cancelled"]


def test_versions_that_came_while_it_was_rejected_are_examined_when_it_is_taken_back(ledger: Ledger) -> None:
    """In their order: the second one may show something else."""
    ledger.record([received("1.2.3")])
    ledger.judge(claimed(ledger), PASS, now=NOW)
    rejects(ledger)
    (row,) = ledger.record([received("1.2.3", "b")])
    assert ledger.gate_again(row.film_id, by="ann", now=LATER, rejected=True)
    first = claimed(ledger)
    ledger.judge(first, PASS, now=LATER)
    assert (first.digest[0], claimed(ledger).digest[0]) == ("a", "b")


def test_a_document_undoes_no_decision_of_a_person(ledger: Ledger) -> None:
    """An archive sends it once more with another header; a document that nobody knew of counts."""
    ledger.record([received("1.2.3"), received("1.2.4")])
    for _ in range(2):
        ledger.judge(claimed(ledger), PASS, now=NOW)
    rejects(ledger)
    assert ledger.gate_again(1, by="ann", now=LATER, rejected=True)
    ledger.judge(claimed(ledger), PASS, now=LATER)
    ledger.record([received("9.113001", "e")])
    again = Judged(NOT_A_FILM.decision, (), "enforce", {}, said=SAID)
    ledger.judge(claimed(ledger), again, now=LATER)
    assert [ledger.film(uid).decision for uid in SAID.rejected.instances] == ["pass", "withhold"]
    rejects(ledger, Said(Rejected("113037", ("1.2.3",)), "ROOM1"))
    assert ledger.film("1.2.3").decision == "withhold"


def test_who_rejects_a_copy_rejects_the_film_that_it_shows(ledger: Ledger) -> None:
    """The archive got the corrected copy, and AI waits for it."""
    copy = CopyMade("2.25.7", "1.2", "1.2.840.10008.1.2.1", "c" * 64, {"turn": 90}, CopyState.ACCEPTED)
    ledger.record([received("1.2.3")])
    corrected = Judged(
        Decision(Act.CORRECT, rule="turn"), (), "enforce", {}, copy=copy, send_copy_to=("ai", "archive")
    )
    ledger.judge(claimed(ledger), corrected, now=NOW)
    rejects(ledger, Said(Rejected("113001", ("2.25.7",)), "ARCHIVE"))
    film = ledger.film("1.2.3")
    assert (film.decision, [one["state"] for one in film.deliveries]) == ("withhold", ["cancelled"] * 2)
