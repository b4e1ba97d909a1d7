"""What the whole line must survive: dead workers, no Redis, a dead dispatcher, hostile films.

Every test sends films through one gateway that stays up all the while; the last ones look at what is left.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
import redis
from dicom_files import change, dx, part10, ramp
from pydicom import Dataset, uid
from rig import DCMSEND, STORESCP, Gateway, gateway, listening, wait_for
from test_line import at, copies_of

from gateway.bootstrap import now
from gateway.destinations import scu
from gateway.ledger import Ledger
from gateway.ledger.people import passwords
from gateway.ledger.people.records import Role
from pipelines.lab.films.phantom_dx import phantom_dx

pytestmark = [pytest.mark.dcmtk, pytest.mark.redis, pytest.mark.slow]

CANARY = "Kanarienvogel"
STAGES = ("claim", "decode", "gate", "decide", "record", "act")
LEASE_S = 8  # more than the 5 s between two heartbeats
SETTLED_S = 60.0
_numbers = count()


@pytest.fixture(scope="module")
def lots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file here kills the worker that passes the stage which it names: see gateway/process/crash.py."""
    return tmp_path_factory.mktemp("lots")


@pytest.fixture(scope="module")
def line(lots: Path) -> Iterator[Gateway]:
    for program in (DCMSEND, STORESCP):
        if not os.access(program, os.X_OK):
            pytest.skip(f"{program} is missing: apt-get install dcmtk")
    options: dict[str, Any] = {"work": {"workers": 2, "lease_s": LEASE_S}, "gateway": {"deflated": True}}
    with gateway(env={"FILMGATE_CRASH_AT": str(lots)}, **options) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def film(kind: str = "frontal", **options: Any) -> Dataset:
    """A phantom that no test has sent before, with a canary in every field that tells of a patient."""
    ds = phantom_dx(kind, 3, salt=f"{time.time_ns()}", patient=f"{CANARY}^Wilhelmina", **options)
    with_canaries(ds)
    return ds


def with_canaries(ds: Dataset) -> None:
    for keyword in ("PatientID", "OtherPatientIDs", "PatientAddress", "PatientComments", "AccessionNumber"):
        setattr(ds, keyword, CANARY)
    for keyword in ("PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName", "OperatorsName"):
        setattr(ds, keyword, f"{CANARY}^W")
    for keyword in ("StudyDescription", "SeriesDescription", "InstitutionName", "StudyID"):
        setattr(ds, keyword, CANARY)


def saved(ds: Dataset, folder: Path) -> Path:
    path = folder / f"{next(_numbers)}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def push(line: Gateway, *paths: Path) -> list[scu.SentResult]:
    """Send the files; every one must be answered 0x0000."""
    answers = list(scu.send(paths, "127.0.0.1", line.port, "FILMGATE"))
    assert [answer.text for answer in answers if not answer.ok] == []
    assert len(answers) == len(paths)
    return answers


@contextmanager
def pushing(line: Gateway, paths: list[Path]) -> Iterator[list[scu.SentResult]]:
    """Files are sent while the body runs; what was answered so far."""
    answers: list[scu.SentResult] = []

    def push_all() -> None:
        for answer in scu.send(paths, "127.0.0.1", line.port, "FILMGATE"):
            answers.append(answer)

    thread = threading.Thread(target=push_all)
    thread.start()
    try:
        yield answers
    finally:
        thread.join(30)


def sent(line: Gateway, ds: Dataset, folder: Path) -> dict[str, Any]:
    """Push one film and wait until it is settled; its row."""
    push(line, saved(ds, folder))
    return settled(line, [ds])[0]


def settled(line: Gateway, films: list[Dataset], timeout_s: float = SETTLED_S) -> list[dict[str, Any]]:
    uids = [str(ds.SOPInstanceUID) for ds in films]
    rows = {row["sop_instance_uid"]: row for row in line.settled(set(uids), timeout_s)}
    return [rows[one] for one in uids]


def history(line: Gateway, ds: Dataset) -> list[str]:
    shown = line.cli("films", "show", str(ds.SOPInstanceUID), "--json")
    return [event["what"] for event in json.loads(shown.stdout)[0]["events"]]


# --- workers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_that_dies_leaves_one_decision_and_one_copy(
    line: Gateway, lots: Path, folder: Path, stage: str
) -> None:
    """Another worker does it again: one decision, one copy, one object at the AI."""
    ds = film(turn=90)
    (lots / f"{stage}.1").touch()
    row = sent(line, ds, folder)
    assert list(lots.iterdir()) == [], "no worker died"
    assert (row["decision"], row["job"]) == ("correct", "done")
    assert history(line, ds).count("decided") == 1
    assert sorted(d["destination"] for d in row["deliveries"]) == ["archive", "chest-ai"]
    assert len(copies_of(line.ai, ds.SOPInstanceUID)) == 1


def test_a_film_that_kills_its_worker_three_times_is_parked(line: Gateway, lots: Path, folder: Path) -> None:
    """It is held with its error; what comes after it is examined."""
    poison, after = film(), film()
    for number in range(3):
        (lots / f"claim.{number}").touch()
    push(line, saved(poison, folder))
    wait_for(lambda: not any(lots.iterdir()), SETTLED_S, "the film did not kill three workers")
    push(line, saved(after, folder))
    parked, passed = settled(line, [poison, after])
    assert (parked["decision"], parked["reasons"]) == ("quarantine", ["ATTEMPTS_EXHAUSTED"])
    assert (parked["job"], "exit code 137" in parked["error"]) == ("parked", True)
    assert at(line.ai, poison.SOPInstanceUID) == []
    assert passed["decision"] == "pass"


# --- Redis ----------------------------------------------------------------------------------------


def client(line: Gateway) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(line.state / "redis" / "redis.sock"))


def kill_three_times(line: Gateway) -> None:
    for _ in range(3):
        pid = line.pid_of("redis-server")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda old=pid: old not in line.pids() and answers(line), 15, "Redis did not come back")


def flush(line: Gateway) -> None:
    with client(line) as server:
        for _ in range(20):
            server.flushall()


def answers(line: Gateway) -> bool:
    with client(line) as server, suppress(redis.RedisError):
        return bool(server.ping())
    return False


@contextmanager
def stopped(line: Gateway, *words: str) -> Iterator[None]:
    """What has one of `words` in its command line stands still, as after SIGSTOP."""
    pids = [pid for pid, command in line.pids().items() if any(word in command for word in words)]
    assert pids
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("fault", [kill_three_times, flush])
def test_whatever_happens_to_redis_films_are_taken_and_decided(
    line: Gateway, folder: Path, fault: Callable[[Gateway], None]
) -> None:
    """0x0000 all the while; 15 s after Redis is back at the latest every film is decided."""
    films = [film() for _ in range(6)]
    paths = [saved(ds, folder) for ds in films]
    push(line, *paths[:3])
    failing = threading.Thread(target=fault, args=(line,))
    failing.start()
    push(line, *paths[3:])
    failing.join()
    assert [row["decision"] for row in settled(line, films, 15)] == ["pass"] * 6


def test_films_are_decided_while_redis_stands_still(line: Gateway, folder: Path) -> None:
    """Nobody can ring: workers look by themselves. When Redis goes on, so does the doorbell."""
    films = [film() for _ in range(4)]
    with stopped(line, "redis-server"):
        push(line, *(saved(ds, folder) for ds in films))
        settled(line, films, 15)
    assert sent(line, film(), folder)["decision"] == "pass"


def test_originals_reach_the_archive_without_redis_and_workers(line: Gateway, folder: Path) -> None:
    """Nothing that examines films can keep them from the archive."""
    ds = film()
    with stopped(line, "redis-server", " work "):
        push(line, saved(ds, folder))
        wait_for(lambda: at(line.archive, ds.SOPInstanceUID), 15, "not at the archive")
        (row,) = [row for row in line.films() if row["sop_instance_uid"] == ds.SOPInstanceUID]
        assert row["decision"] is None
    assert settled(line, [ds])[0]["decision"] == "pass"


def test_a_worker_that_stood_still_for_longer_than_its_lease_does_no_harm(
    line: Gateway, folder: Path
) -> None:
    """Its film is given to another; when it goes on, the lease refuses what it found."""
    films = [film(turn=180, size=(1500, 1200)) for _ in range(4)]
    paths = [saved(ds, folder) for ds in films]
    with closing(Ledger.open(f"sqlite:///{line.state / 'ledger.sqlite'}")) as ledger:
        push(line, *paths)
        wait_for(ledger.leases, 10, "nobody works")
        with stopped(line, " work "):
            assert ledger.leases(), "no worker was stopped at work"
            wait_for(lambda: not ledger.leases(), 3 * LEASE_S, "the leases were not freed")
    rows = settled(line, films)
    assert [row["decision"] for row in rows] == ["correct"] * len(films)
    assert all(history(line, ds).count("decided") == 1 for ds in films)
    assert all(len(copies_of(line.ai, ds.SOPInstanceUID)) == 1 for ds in films)
    assert "lease lost" in "".join(line.lines)


# --- the dispatcher -------------------------------------------------------------------------------


def test_a_dispatcher_that_dies_loses_and_doubles_nothing(line: Gateway, folder: Path) -> None:
    """kill -9 while deliveries are under way."""
    films = [film(turn=turn) for turn in (0, 90) * 8]
    before = len(line.ai.files())
    push(line, *(saved(ds, folder) for ds in films))
    wait_for(lambda: len(line.ai.files()) > before + 2, SETTLED_S, "nothing was delivered")
    os.kill(line.pid_of(" dispatch "), signal.SIGKILL)
    rows = settled(line, films)
    assert {d["state"] for row in rows for d in row["deliveries"]} == {"delivered"}
    assert all(len(at(line.archive, ds.SOPInstanceUID)) == 1 for ds in films)
    assert len(line.ai.files()) == before + len(films)


# --- any of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["listen", "dispatch", "work"])
def test_a_process_that_is_asked_to_stop_at_work_loses_and_doubles_nothing(
    line: Gateway, folder: Path, role: str
) -> None:
    """SIGTERM under load: gone within 20 s, started again; what got no 0x0000 is sent again."""
    films = [film(turn=turn) for turn in (0, 90) * 5]
    paths = {str(ds.SOPInstanceUID): saved(ds, folder) for ds in films}
    pid, before = line.pid_of(f" {role} "), len(line.ai.files())
    with pushing(line, list(paths.values())) as answers:
        wait_for(lambda: len(answers) > 2, 15, "nothing was answered")
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: pid not in line.pids(), 20, "it did not end")
    wait_for(lambda: listening(line.port), 15, "nobody listens again")
    safe = {answer.sop_instance_uid for answer in answers if answer.ok}
    push(line, *(path for uid, path in paths.items() if uid not in safe))
    assert [row["decision"] for row in settled(line, films)] == ["pass", "correct"] * 5
    assert all(len(at(line.archive, ds.SOPInstanceUID)) == 1 for ds in films)
    assert len(line.ai.files()) == before + len(films)


# --- hostile films --------------------------------------------------------------------------------


def spoiled(ds: Dataset, **attributes: Any) -> bytes:
    attributes = {"PatientName": f"{CANARY}^W", "PatientID": CANARY, **attributes}
    return part10(change(ds, SOPInstanceUID=uid.generate_uid(), **attributes))


def chest(**attributes: Any) -> bytes:
    return spoiled(dx(film().pixel_array), **attributes)


def nested(depth: int) -> bytes:
    """A film without pixels that ends in sequences within sequences (PS3.5 section 7.5)."""
    sequence = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return chest(PixelData=None) + (sequence + item) * depth


def bomb() -> bytes:
    """A dataset of a megabyte that would inflate to a gigabyte."""
    ds = change(dx(ramp()), SOPInstanceUID=uid.generate_uid())
    data = part10(ds, uid.DeflatedExplicitVRLittleEndian)
    head = data[: 144 + struct.unpack_from("<I", data, 140)[0]]
    deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    plain = dataset_bytes_of(chest(PixelData=None)) + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, 2**30)
    body = [deflater.compress(plain), *(deflater.compress(bytes(2**20)) for _ in range(2**10))]
    return head + b"".join([*body, deflater.flush()])


def dataset_bytes_of(data: bytes) -> bytes:
    return data[144 + struct.unpack_from("<I", data, 140)[0] :]


HOSTILE = {
    "bomb": (bomb, "UNREADABLE"),
    "300 deep": (lambda: nested(300), "UNREADABLE"),
    "100,000 deep": (lambda: nested(100_000), "UNREADABLE"),
    "65,535 rows": (lambda: chest(Rows=65535, Columns=65535), "PIXELS_MISMATCH"),
    "constant": (lambda: spoiled(dx(np.full((400, 400), 7, "<u2"))), "BLANK"),
    "1 x 1": (lambda: spoiled(dx(np.ones((1, 1), "<u2"))), "BLANK"),
    "slope NaN": (lambda: chest(RescaleSlope="NaN"), "BLANK"),
    "slope 0": (lambda: chest(RescaleSlope="0"), "BLANK"),
    "window centre NaN": (lambda: chest(WindowCenter="NaN"), "BLANK"),
}


def test_hostile_films_are_held_with_their_reason_and_harm_nobody(line: Gateway, folder: Path) -> None:
    """Bombs, depths, values that are no numbers: all at the archive, none at the AI, no worker dead."""
    workers = {pid for pid, command in line.pids().items() if " work " in command}
    paths = {folder / f"{number}.dcm": name for number, name in enumerate(HOSTILE)}
    for path, name in paths.items():
        path.write_bytes(HOSTILE[name][0]())
    uids = {one.sop_instance_uid: paths[one.path] for one in push(line, *paths)}
    rows = [row for row in line.settled(set(uids), SETTLED_S) if row["sop_instance_uid"] in uids]
    found = {uids[row["sop_instance_uid"]]: (row["decision"], row["reasons"]) for row in rows}
    assert found == {name: ("quarantine", [reason]) for name, (_, reason) in HOSTILE.items()}
    assert all(len(at(line.archive, one)) == 1 and not at(line.ai, one) for one in uids)
    assert workers <= set(line.pids())


# --- what is left ---------------------------------------------------------------------------------


THIRTEEN = (b"1234567890.12", b"ISO 2022 IR 6", b"1.2.3.4.5.6.7")  # as long as the canary


def misplaced(ds: Dataset, folder: Path, value: bytes) -> Path:
    """A film with the canary where a date, a sex, or the one `value` should be: parsers complain of it."""
    change(ds, PatientBirthDate=CANARY, StudyDate=CANARY, PatientSex=CANARY)
    ds.PatientWeight = ds.PatientSize = "1234567890.12"
    ds.SpecificCharacterSet, ds.StudyInstanceUID = "ISO 2022 IR 6", "1.2.3.4.5.6.7"
    path = saved(ds, folder)
    path.write_bytes(path.read_bytes().replace(value, CANARY.encode()) if value else path.read_bytes())
    return path


def searched(line: Gateway) -> str:
    """What the console answers to who asks for the patient, without the words of the question itself."""
    with closing(Ledger.open(f"sqlite:///{line.state}/ledger.sqlite")) as ledger:
        ledger.add_user("ann", Role.ADMIN, by="tests", now=now(), password_hash=passwords.hashed(CANARY))
    with httpx.Client(base_url=f"http://127.0.0.1:{line.console_port}", timeout=60) as client:
        assert client.post("/sign-in", data={"name": "ann", "password": CANARY}).status_code == 303
        questions: list[tuple[str, dict[str, Any]]] = [
            *(("/films", {name: CANARY}) for name in ("text", "accession", "patient_id")),
            ("/films", {"text": f"{CANARY}*"}),
            ("/films.csv", {"text": CANARY, "column": ["film", "accession", "patient"]}),
            ("/why", {"q": CANARY}),
            ("/metrics", {}),
        ]
        answers = [client.get(address, params=asked) for address, asked in questions]
        film = client.get("/api/films", params={"text": CANARY}).json()["films"][0]
        assert (film["accession"], film["patient_id"]) == ("•••gel", "•••gel")
        token = re.search(r'name="csrf-token" content="(\w+)"', answers[0].text)
        assert token
        shown = client.post("/api/reveal", json={"film": film["film"]}, headers={"X-CSRF-Token": token[1]})
        assert shown.json() == {"accession": CANARY, "patient": CANARY}
    assert {answer.status_code for answer in answers} <= {200, 404}  # there may be no metrics
    asked_anew = re.compile(rf'value="{CANARY}\*?"|[?&;]\w+={CANARY}')
    return "".join(asked_anew.sub("", answer.text) for answer in answers)


def test_no_patient_is_in_the_log_or_in_redis(line: Gateway, folder: Path) -> None:
    """Nor after somebody searched. Redis's append-only file holds all that was ever written to it."""
    films = [film(turn=90) for _ in range(4)]
    push(line, *(misplaced(ds, folder, value) for ds, value in zip(films, (b"", *THIRTEEN), strict=True)))
    sent = films
    settled(line, films)
    films = line.films()
    listed = line.cli("films", "list", "--patient-id", CANARY)
    assert [one.SOPInstanceUID for one in sent if one.SOPInstanceUID not in listed.stdout] == []
    pages = searched(line)
    kept = b"".join(path.read_bytes() for path in (line.state / "redis").rglob("*") if path.is_file())
    with client(line) as server:
        assert server.ping()
    bodies = {base64.b64decode(body) for body in re.findall(rb'"body": ?"([^"]+)"', kept)}
    assert {tuple(map(len, json.loads(body)[:2])) for body in bodies} == {(0, 0)}  # no arguments
    for text in (listed.stdout, listed.stderr, pages):
        assert CANARY.lower() not in text.lower()
    for text in ("".join(line.lines), kept.decode("latin-1")):
        assert CANARY.lower() not in text.lower()
        assert [row["sop_instance_uid"] for row in films if row["sop_instance_uid"] in text] == []


def test_the_books_balance_after_all_that(line: Gateway) -> None:
    done = line.cli("fsck", "--deep", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
