"""The worker's flow, with real ledger, store and decoder, and gates that say what the test wants."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from busy import CPU, busy
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway import bootstrap, tasks
from gateway.bootstrap import Shell
from gateway.errors import LedgerBusy, NoRoom, NoTime
from gateway.ledger.records import Received
from gateway.process import loops
from gateway.process.priority import LOWEST, Clerk, give_way
from gateway.sandbox.decoder import Decoder
from gateway.settings import Settings
from gateway.tasks import Examiner
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
        self.names = (*ALL, *regions)
        self.gates = tuple(ClosedGate(name, "") for name in self.names)

    def look(self, film: Film) -> tuple[Finding, ...]:
        assert film.pixels.size
        return tuple(self._finding(gate) for gate in self.names)

    def models(self) -> dict[str, str]:
        return {}

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


def examine(one: Shell, decoder: Decoder, gates: object) -> Examiner:
    examiner = Examiner(one, decoder, gates, Policy.default(), "w", Clerk())  # type: ignore[arg-type]
    examiner.work()
    return examiner


def test_a_held_film_knows_who_would_take_it(tmp_path: Path, decoder: Decoder) -> None:
    """A person's release sends a child's film to the AI for children, not to the one for adults."""
    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 1, age="005Y"), tmp_path)
    examine(one, decoder, Says(("mirror", Reason.MIRROR_SUSPECTED)))
    assert one.ledger.open_hold(1).takers == ("kids",)
    one.quarantine().release(1, by="ann", note="")
    assert one.ledger.due_destinations(NOW) == {"kids": 1}


def test_a_worker_is_heard_while_a_film_is_in_its_hand(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes: its supervisor must not take it for one that hangs."""
    monkeypatch.setattr(tasks, "BEAT_S", 0.01)
    beats: queue.SimpleQueue[None] = queue.SimpleQueue()

    class Slow(Says):
        def look(self, film: Film) -> tuple[Finding, ...]:
            for _ in range(3):
                beats.get(timeout=60)
            return super().look(film)

    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 1), tmp_path)
    clerk, rules = Clerk(), Policy.default()
    Examiner(one, decoder, Slow(), rules, "w", clerk, beat=lambda: beats.put(None)).work()  # type: ignore[arg-type]
    assert one.ledger.film(1).decision == "pass"


def test_observing_holds_nothing_and_keeps_nothing_from_the_ai(tmp_path: Path, decoder: Decoder) -> None:
    """Also a film that arrived while the mode was still enforce."""
    one = shell(tmp_path, mode="observe")
    receive(one, phantom_dx("hand", 1), tmp_path)
    examine(one, decoder, Says(("anatomy", Reason.OTHER_PART)))
    assert one.ledger.film(1).decision == "quarantine"
    assert one.ledger.holds() == []
    assert one.ledger.due_destinations(NOW) == {"ai": 1, "kids": 1}


def test_a_full_disk_costs_the_film_no_attempt(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy cannot be kept now: the film waits, and is corrected when there is room."""
    one = shell(tmp_path, correct="auto")
    receive(one, phantom_dx("frontal", 1, turn=90), tmp_path)
    turned = Says(("rotation", Reason.ROTATED_90))
    examiner = Examiner(one, decoder, turned, Policy.default(), "w", Clerk())  # type: ignore[arg-type]

    def full(*_: object, **__: object) -> None:
        examiner.stopping.set()
        raise NoRoom("full")

    with monkeypatch.context() as patched:
        patched.setattr(tasks, "make_copy", full)
        examiner.work()
    assert one.ledger.ready_jobs() == 1
    job = one.ledger.claim("next")
    assert job is not None
    assert job.attempts == 1


def test_a_film_that_waits_for_room_lets_the_others_go_on(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest film cannot be examined now: the one behind it is, and the first one later."""
    one = shell(tmp_path)
    for number in (1, 2):
        receive(one, phantom_dx("frontal", number), tmp_path)
    examiner = Examiner(one, decoder, Says(), Policy.default(), "w", Clerk())  # type: ignore[arg-type]
    tries: list[str] = []
    film = decoder.film

    def no_room_for_the_first(path: Path, **options: int) -> Film:
        tries.append(path.name)
        if len(tries) > 4:
            examiner.stopping.set()  # the first one again and again
        if path.name == tries[0]:
            raise NoTime("others use the machine")
        return film(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(tasks, "LOOK_S", 60.0)  # longer than the second film takes on any machine
        patched.setattr(decoder, "film", no_room_for_the_first)
        examiner.work()
    assert (one.ledger.film(1).decision, one.ledger.film(2).decision) == (None, "pass")
    assert len(tries) == 2
    job = one.ledger.claim("next")
    assert job is not None
    assert (job.film_id, job.attempts) == (1, 1)


def test_a_locked_ledger_is_told_again_how_an_attempt_ended(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the lease would run out, and cost the film an attempt."""
    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 1), tmp_path)
    postpone, judge, locked = one.ledger.postpone, one.ledger.judge, [1, 1, 1]

    def locked_at_first(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            if locked:
                locked.pop()
                raise LedgerBusy("locked")
            return call(*args, **options)

        return called

    monkeypatch.setattr(tasks, "LOOK_S", 0.01)
    monkeypatch.setattr(one.ledger, "judge", locked_at_first(judge))
    monkeypatch.setattr(one.ledger, "postpone", locked_at_first(postpone))
    examiner = examine(one, decoder, Says())
    assert (one.ledger.ready_jobs(), one.ledger.leases(), locked) == (1, {}, [])
    while one.ledger.ready_jobs():
        examiner.stopping.wait(0.01)
        examiner.work()
    assert one.ledger.film(1).decision == "pass"


HEART = """
import hashlib, os, sys, time
from gateway import tasks
tasks.BEAT_S, tasks.LONGEST_JOB_S = 0.2, 1.0
with tasks.Heart(lambda: None):
    print("begun", flush=True)
    if sys.argv[1] == "sleeps":
        time.sleep(60)
    else:
        end = time.monotonic() + 5
        while time.monotonic() < end:  # without Python's lock, as networks work
            hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000)
os._exit(0)
"""


def heart(does: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", HEART, does]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"begun\n"
    return worker


def test_a_worker_that_hangs_ends_itself() -> None:
    """No heartbeat beyond LONGEST_JOB_S: its film goes to another."""
    worker = heart("sleeps")
    try:
        assert worker.wait(30) == 1
    finally:
        worker.kill()
        worker.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and SCHED_IDLE")
def test_a_worker_that_others_keep_from_the_processor_goes_on() -> None:
    """Five seconds on the clock, hardly any of its own: its heart goes on beating."""
    worker = heart("works")
    try:
        os.sched_setaffinity(worker.pid, {CPU})  # of its first thread, which has the job
        os.sched_setscheduler(worker.pid, os.SCHED_IDLE, os.sched_param(0))
        with busy(8):
            assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.communicate()


def test_a_gate_that_breaks_the_worker_parks_the_film(tmp_path: Path, decoder: Decoder) -> None:
    class Broken(Says):
        def look(self, film: Film) -> tuple[Finding, ...]:
            raise RuntimeError("boom")

    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 1), tmp_path)
    examine(one, decoder, Broken())
    assert one.ledger.film(1).reasons == ("ATTEMPTS_EXHAUSTED",)
    assert "boom" in one.ledger.open_hold(1).why


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
    Examiner(one, decoder, Says(*found), one.policy(), "w", Clerk()).work()  # type: ignore[arg-type]
    assert one.ledger.film(1).decision == decision


def test_the_gates_that_regions_added_are_known_by_name() -> None:
    """Those that look at chests are never among them."""
    gates = Gates(tuple(ClosedGate(name, "") for name in (*ALL, "hip", "knee")), {})
    assert tasks.region_gates(gates) == ("hip", "knee")


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


def test_the_thread_that_writes_does_not_give_way() -> None:
    """A worker put aside amid a transaction would keep the listener from the ledger."""

    def lowered() -> tuple[int, int, int]:
        clerk = Clerk()
        give_way(LOWEST)
        return (
            os.sched_getscheduler(0),
            clerk.ask(lambda: os.sched_getscheduler(0)),
            clerk.ask(lambda: os.nice(0)),
        )

    before = os.nice(0)
    with ThreadPoolExecutor(1) as thread:  # its priority goes with it
        mine, ledgers, nice = thread.submit(lowered).result()
    assert (mine, ledgers, nice) == (os.SCHED_IDLE, os.SCHED_OTHER, before)


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
    hold = one.quarantine().correct(1, by="ann", note="", operations=Operations(turn=270))
    (owed,) = one.ledger.claim_deliveries("ai", 9, datetime.now(UTC))
    ds = dcmread(one.store.path(owed.digest))
    assert ds.TimezoneOffsetFromUTC == "+0900"
    opened = hold.opened_at.astimezone(ZoneInfo("Asia/Tokyo"))
    assert ds.InstanceCreationDate + str(ds.InstanceCreationTime) == opened.strftime("%Y%m%d%H%M%S")


def test_a_heart_goes_on_beating_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the lease is lost in the middle of a film, and nobody ends a worker that hangs."""
    monkeypatch.setattr(tasks, "BEAT_S", 0.01)
    again, beats = threading.Event(), []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 1:
            raise RuntimeError("cannot schedule new futures")
        again.set()

    with tasks.Heart(beat):
        assert again.wait(30)


def test_a_worker_looks_again_after_a_fault(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Redis away its own look is all that finds films."""
    one = shell(tmp_path)
    receive(one, phantom_dx("frontal", 3), tmp_path)
    monkeypatch.setattr(tasks, "LOOK_S", 0.01)
    claim, faults = one.ledger.claim, [RuntimeError("a bug"), KeyError("another")]

    def fails_at_first(*args: Any, **named: Any) -> Any:
        if faults:
            raise faults.pop()
        return claim(*args, **named)

    monkeypatch.setattr(one.ledger, "claim", fails_at_first)
    examiner = Examiner(one, decoder, Says(), Policy.default(), "w", Clerk())  # type: ignore[arg-type]
    look = partial(loops.Guard("worker look", first_s=0.01), examiner.work)
    alone = loops.start("worker look", partial(examiner.look_alone, look))
    end = time.monotonic() + 60
    while one.ledger.film(1).decision != "pass":
        assert alone.is_alive()
        assert time.monotonic() < end
        examiner.stopping.wait(0.01)
    examiner.stopping.set()
    alone.join()


def test_the_heart_does_not_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside busy programs it would miss beats, and the lease be lost."""
    monkeypatch.setattr(tasks, "BEAT_S", 0.01)
    beaten, policies = threading.Event(), []

    def beat() -> None:
        policies.append(os.sched_getscheduler(0))
        beaten.set()

    def lowered() -> None:
        clerk = Clerk()
        give_way(LOWEST)
        with tasks.Heart(beat, start=clerk.ask):
            assert beaten.wait(30)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lowered).result()
    assert set(policies) == {os.SCHED_OTHER}
