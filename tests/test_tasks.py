"""The worker's flow, with real ledger, store and decoder, and gates that say what the test wants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import select

from gateway import bootstrap
from gateway.bootstrap import Shell
from gateway.ledger.acting.table import DoneBy
from gateway.ledger.picturing.features import features, unpacked
from gateway.ledger.records import Received
from gateway.process.priority import LedgerThread
from gateway.sandbox.decoder import Decoder
from gateway.settings import Settings
from gateway.worker import Worker
from pipelines.film import Film, Finding, Operations, Reason, Verdict
from pipelines.gates import ClosedGate, Gates
from pipelines.gates.inversion import told_twice
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.policy import DEFAULT_RULES, Policy

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ALL = ("header", "exposure", "anatomy", "inversion", "rotation", "mirror", "lungs")


class Says:
    """Gates that find what they are told: `faults` are (gate, reason); every other gate is content."""

    def __init__(self, *faults: tuple[str, Reason], regions: tuple[str, ...] = ()) -> None:
        self.faults = dict(faults)
        self.further = regions
        self.names = (*ALL, *regions)

    def look(self, film: Film) -> tuple[Finding, ...]:
        assert film.pixels.size
        return tuple(self._finding(gate) for gate in self.names)

    def models(self) -> dict[str, str]:
        return {}

    def regions(self) -> tuple[str, ...]:
        return self.further

    def _finding(self, gate: str) -> Finding:
        reason = self.faults.get(gate)
        return Finding(gate, Verdict.BAD if reason else Verdict.GOOD, 0.9, reason=reason)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as one:
        yield one


def shell(tmp_path: Path, accepts: dict[str, object] | None = None, zone: str = "", **policy: str) -> Shell:
    """A gateway with an AI for adults and one for children, or for what `accepts` says instead."""
    ai = {"kind": "folder", "path": tmp_path / "ai"}
    kids = accepts or {"min_age": 0, "max_age": 16}
    settings = Settings.model_validate(
        {
            "state": tmp_path,
            "gateway": {"time_zone": zone},
            "store": {"min_free_mb": 0},
            "destinations": {"ai": ai, "kids": ai | {"accepts": kids}},
            "routes": {"pass": ["ai", "kids"]},
            "policy": policy,
        }
    )
    return Shell.open(settings, migrate_first=True)


def receive(one: Shell, ds: Dataset, tmp_path: Path) -> None:
    """Keep and record a film as the listener does."""
    path = tmp_path / "sent.dcm"
    ds.save_as(path, enforce_file_format=True)
    kept = one.store.put_file(path)
    syntax = str(ds.file_meta.TransferSyntaxUID)
    row = Received(ds.SOPClassUID, ds.SOPInstanceUID, syntax, kept.digest, kept.size_bytes, None, NOW)
    one.ledger.record([row])


def examine(one: Shell, decoder: Decoder, gates: object) -> Worker:
    its_worker = Worker(one, decoder, gates, Policy.default(), "w", LedgerThread())  # type: ignore[arg-type]
    its_worker.work()
    return its_worker


def test_a_held_film_knows_who_would_take_it(tmp_path: Path, decoder: Decoder) -> None:
    """A person's release sends a child's film to the AI for children, not to the one for adults."""
    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 1, age="005Y"), tmp_path)
    examine(one, decoder, Says(("mirror", Reason.MIRROR_SUSPECTED)))
    assert one.ledger.open_hold(1).takers == ("kids",)
    one.quarantine().one(DoneBy.RELEASE, 1, delayed=False, by="ann", note="")
    assert one.ledger.due_destinations(NOW) == {"kids": 1}


def test_observing_holds_nothing_and_keeps_nothing_from_the_ai(tmp_path: Path, decoder: Decoder) -> None:
    """Also a film that arrived while the mode was still enforce."""
    one = shell(tmp_path, mode="observe")
    receive(one, phantom_dx("hand", 1), tmp_path)
    examine(one, decoder, Says(("anatomy", Reason.OTHER_PART)))
    assert one.ledger.film(1).decision == "quarantine"
    assert one.ledger.holds() == []
    assert one.ledger.due_destinations(NOW) == {"ai": 1, "kids": 1}


def test_a_copy_that_does_not_pass_is_held(tmp_path: Path, decoder: Decoder) -> None:
    """Still turned after the correction: nothing goes to the AI, and a person sees both."""
    one = shell(tmp_path, correct="auto")
    receive(one, phantom_dx("frontal", 1, turn=90), tmp_path)
    examine(one, decoder, Says(("rotation", Reason.ROTATED_90)))
    film = one.ledger.film(1)
    assert (film.decision, film.reasons) == ("quarantine", ("ROTATED_90", "COPY_FAILED"))
    assert one.ledger.open_hold(1).proposal
    assert one.ledger.due_destinations(NOW) == {}


class Judges(Says):
    """The same, but for what the inversion gate reads in the header."""

    def look(self, film: Film) -> tuple[Finding, ...]:
        return (*super().look(film), *told_twice(film.header))


@pytest.mark.parametrize("correct", ["propose", "auto"])
def test_a_film_of_ambiguous_polarity_goes_to_the_ai_as_a_copy_that_is_clear(
    tmp_path: Path, decoder: Decoder, correct: str
) -> None:
    """With the film's own pixels, so no person is asked; the original stays what it is."""
    one = shell(tmp_path, correct=correct)
    film = phantom_dx("frontal", 1)
    film.PhotometricInterpretation, film.PresentationLUTShape = "MONOCHROME2", "INVERSE"
    receive(one, film, tmp_path)
    examine(one, decoder, Judges())
    assert (one.ledger.film(1).decision, one.ledger.film(1).reasons) == ("correct", ("POLARITY_AMBIGUOUS",))
    assert one.ledger.due_destinations(NOW) == {"ai": 1}
    assert one.ledger.holds() == []
    (sent,) = one.ledger.claim_deliveries("ai", 9, NOW)
    copy = dcmread(one.store.path(sent.digest))
    assert (copy.PhotometricInterpretation, copy.PresentationLUTShape) == ("MONOCHROME1", "INVERSE")
    assert np.array_equal(copy.pixel_array, film.pixel_array)


def test_an_ambiguous_film_that_is_turned_waits_for_a_person(tmp_path: Path, decoder: Decoder) -> None:
    """Its copy looks different from the film: `propose` holds it as ever."""
    one = shell(tmp_path, correct="propose")
    film = phantom_dx("frontal", 1)
    film.PhotometricInterpretation, film.PresentationLUTShape = "MONOCHROME1", "IDENTITY"
    receive(one, film, tmp_path)
    examine(one, decoder, Judges(("rotation", Reason.ROTATED_180)))
    assert one.ledger.open_hold(1).proposal
    assert one.ledger.due_destinations(NOW) == {}


def test_versions_are_compared_by_their_pixels(tmp_path: Path, decoder: Decoder) -> None:
    """Another name is no news; another picture is held beside the first."""
    one = shell(tmp_path)
    ds = phantom_dx("frontal", 1)
    other = phantom_dx("frontal", 2)
    for version in (ds, ds, other):
        version.PatientName = "Corrected^Name" if version is ds and one.ledger.films() else "First^Name"
        version.SOPInstanceUID = version.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        receive(one, version, tmp_path)
        examine(one, decoder, Says())
    assert one.ledger.film(1).reasons == ("OTHER_PIXELS",)
    assert one.ledger.due_destinations(NOW) == {"ai": 1}
    assert "other pixels" in one.ledger.open_hold(1).why


def test_a_later_version_that_is_no_film_holds_nobody_up(tmp_path: Path, decoder: Decoder) -> None:
    one = shell(tmp_path)
    for name in ("First^Name", "Second^Name"):
        ds = phantom_dx("frontal", 1)
        del ds.PixelData
        ds.Modality, ds.PatientName = "SR", name
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
        receive(one, ds, tmp_path)
        examine(one, decoder, Says())
    assert one.ledger.film(1).decision == "withhold"
    assert one.ledger.holds() == []


def hip(number: int) -> Dataset:
    ds = phantom_dx("hand", number)
    ds.BodyPartExamined = "HIP"
    return ds


def test_a_film_of_another_region_goes_to_the_ai_for_it(tmp_path: Path, decoder: Decoder) -> None:
    """The decision names the region; a chest that the same gate does not know goes where it always went."""
    one = shell(tmp_path, accepts={"regions": ["hip"]})
    receive(one, hip(1), tmp_path)
    examine(one, decoder, Says(("anatomy", Reason.OTHER_PART), regions=("hip",)))
    film = one.ledger.film(1)
    assert (film.decision, film.rule) == ("pass", "region hip")
    assert one.ledger.due_destinations(NOW) == {"kids": 1}
    receive(one, phantom_dx("frontal", 2), tmp_path)
    examine(one, decoder, Says(("hip", Reason.NOT_THIS_REGION), regions=("hip",)))
    assert one.ledger.due_destinations(NOW) == {"kids": 1, "ai": 1}


def test_a_person_releases_a_hip_to_the_ai_for_hips(tmp_path: Path, decoder: Decoder) -> None:
    one = shell(tmp_path, accepts={"regions": ["hip"]})
    receive(one, hip(1), tmp_path)
    faults = (("anatomy", Reason.OTHER_PART), ("exposure", Reason.WASHED_OUT))
    examine(one, decoder, Says(*faults, regions=("hip",)))
    assert one.ledger.film(1).decision == "quarantine"
    assert one.ledger.open_hold(1).takers == ("kids",)


@pytest.mark.parametrize(
    ("body_part", "found", "decision"),
    [
        ("BRUST", (), "pass"),
        ("BRUST", (("anatomy", Reason.OTHER_PART),), "quarantine"),
        ("RIBS", (("anatomy", Reason.UNKNOWN_ANATOMY),), "quarantine"),  # never withheld unseen
        ("STELLAGE", (), "quarantine"),
        ("STELLAGE", (("anatomy", Reason.UNKNOWN_ANATOMY),), "withhold"),
        ("KAEFIG", (("anatomy", Reason.OTHER_PART),), "quarantine"),
    ],
)
def test_the_words_of_the_policy_file_reach_the_worker(
    body_part: str, found: tuple[tuple[str, Reason], ...], decision: str, tmp_path: Path, decoder: Decoder
) -> None:
    """From `policy.file` to the decision; the coded region says nothing here."""
    own = "regions:\n  chest: [Käfig]\n  other: [Stellage]\n"
    rules = DEFAULT_RULES.read_text(encoding="utf-8").replace("regions:\n", own)
    (tmp_path / "rooms.yaml").write_text(rules, encoding="utf-8")
    one = shell(tmp_path, file=str(tmp_path / "rooms.yaml"))
    ds = phantom_dx("frontal", 1)
    ds.BodyPartExamined, ds.ViewPosition, ds.PatientOrientation = body_part, "", ""
    ds.ViewCodeSequence, ds.AnatomicRegionSequence = [], []
    receive(one, ds, tmp_path)
    Worker(one, decoder, Says(*found), one.policy(), "w", LedgerThread()).work()  # type: ignore[arg-type]
    assert one.ledger.film(1).decision == decision


def test_the_gates_that_regions_added_are_known_by_name() -> None:
    """Those that look at chests are never among them."""
    gates = Gates(tuple(ClosedGate(name, "") for name in (*ALL, "hip", "knee")), {})
    assert gates.regions() == ("hip", "knee")


def test_workers_are_told_of_bundles_variants_and_regions(tmp_path: Path) -> None:
    """And of no more than the settings name."""
    plain = shell(tmp_path)
    assert plain.models() == {"bundles": None}
    work = {"bundles": "b", "variants": {"anatomy": "open"}, "regions": ["r/hip"]}
    more = Shell(Settings.model_validate({"work": work}), plain.ledger, plain.store)
    assert more.models() == {
        "bundles": Path("b"),
        "variants": {"anatomy": "open"},
        "regions": (Path("r/hip"),),
    }


@pytest.mark.parametrize(
    ("zone", "takers"),
    [("America/Los_Angeles", ("ai", "kids")), ("UTC", ("ai",)), ("Asia/Tokyo", ("ai",))],
)
def test_an_evening_film_is_of_today_by_the_hospitals_clock(
    zone: str, takers: tuple[str, ...], tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At seven in the evening of 5 January in Los Angeles it is the 6th by UTC; who takes it, held or not."""
    monkeypatch.setattr(bootstrap, "now", lambda: datetime(2026, 1, 6, 3, 0, tzinfo=UTC))
    one = shell(tmp_path, accepts={"max_study_age_days": 0}, zone=zone)
    receive(one, phantom_dx("frontal", 1), tmp_path)
    examine(one, decoder, Says())
    assert tuple(one.ledger.due_destinations(NOW)) == takers
    receive(one, phantom_dx("frontal", 2), tmp_path)
    examine(one, decoder, Says(("mirror", Reason.MIRROR_SUSPECTED)))
    assert one.ledger.open_hold(2).takers == takers


def test_copies_are_dated_in_the_hospitals_zone(tmp_path: Path, decoder: Decoder) -> None:
    """By the settings alone, wherever the machine is."""
    one = shell(tmp_path, zone="Asia/Tokyo")
    receive(one, phantom_dx("frontal", 1, turn=90), tmp_path)
    examine(one, decoder, Says(("mirror", Reason.MIRROR_SUSPECTED)))
    one.quarantine().one(DoneBy.CORRECT, 1, delayed=False, by="ann", note="", operations=Operations(turn=270))
    (owed,) = one.ledger.claim_deliveries("ai", 9, datetime.now(UTC))
    ds = dcmread(one.store.path(owed.digest))
    assert ds.TimezoneOffsetFromUTC == "+0900"
    (hold,) = one.ledger.holds(None)
    opened = hold.opened_at.astimezone(ZoneInfo("Asia/Tokyo"))
    assert ds.InstanceCreationDate + str(ds.InstanceCreationTime) == opened.strftime("%Y%m%d%H%M%S")


def test_a_held_film_has_its_thumbnail_and_its_place(tmp_path: Path, decoder: Decoder) -> None:
    """Of the original and of the copy that is proposed: somebody looks at both soon."""
    one = shell(tmp_path)

    class TurnedOnce(Says):
        def look(self, film: Film) -> tuple[Finding, ...]:
            findings = super().look(film)
            self.faults = {}
            return (*findings, Finding("anatomy", Verdict.GOOD, 0.9, model_digest="m", place=(1.0, 2.0)))

    receive(one, phantom_dx("frontal", 1, turn=180), tmp_path)
    receive(one, phantom_dx("frontal", 2), tmp_path)  # passes: nobody looks at it
    examine(one, decoder, TurnedOnce(("rotation", Reason.ROTATED_180)))
    hold = one.ledger.open_hold(1)
    thumbs = {path.stem for path in (tmp_path / "thumbs").rglob("*.jpg")}
    assert thumbs == {hold.digest, hold.proposal}
    with one.ledger.reading() as db:
        assert [unpacked(row.vector) for row in db.execute(select(features))] == [(1.0, 2.0)]


def test_a_thumbnail_that_cannot_be_kept_harms_no_film(tmp_path: Path, decoder: Decoder) -> None:
    """Its folder cannot be made: the film is held all the same, at the first attempt."""
    one = shell(tmp_path)
    (tmp_path / "thumbs").write_text("in the way")
    receive(one, phantom_dx("frontal", 1), tmp_path)
    examine(one, decoder, Says(("mirror", Reason.MIRROR_SUSPECTED)))
    assert one.ledger.open_hold(1)
    assert one.ledger.film(1).error is None
