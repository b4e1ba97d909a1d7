"""Ways to run the gateway, and what goes wrong around it: an AI or a network missing, a full disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from dicom_files import change
from dicom_peers import RawPeer, pdata, store_rq
from pydicom import Dataset
from rig import DCMSEND, NO_CONSOLE, ROOT, STORESCP, Gateway, Receiver, gateway, wait_for
from storage_peers import Peer, storage_scp
from test_faults import film, history, push, pushing, saved, sent, settled, stopped
from test_line import at, copies_of, dataset_bytes

from gateway.destinations import scu

pytestmark = [pytest.mark.dcmtk, pytest.mark.redis, pytest.mark.slow]

ONE_WORKER = {"workers": 1}
PDU_BYTES = 1 << 16


@pytest.fixture(scope="module", autouse=True)
def _dcmtk() -> None:
    for program in (DCMSEND, STORESCP):
        if not os.access(program, os.X_OK):
            pytest.skip(f"{program} is missing: apt-get install dcmtk")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


# --- an archive that sends everything back; a person decides on corrections -----------------------


class Mirror(threading.Thread):
    """Sends back, as they are, the objects that an archive gets."""

    def __init__(self, archive: Peer, port: int) -> None:
        super().__init__(name="mirror")
        self.answers: list[int] = []
        self.ending = threading.Event()
        self._archive = archive
        self._port = port

    def run(self) -> None:
        while not self.ending.wait(0.05):
            for number in range(len(self.answers), len(self._archive.uids)):
                self.answers.append(self._send(self._archive.uids[number], self._archive.datasets[number]))

    def _send(self, uid: str, dataset: bytes) -> int:
        pieces = [dataset[at : at + PDU_BYTES] for at in range(0, len(dataset), PDU_BYTES)]
        with RawPeer(self._port) as peer:
            peer.associate()
            peer.say(pdata(store_rq(uid), command=True), *(pdata(piece, last=False) for piece in pieces[:-1]))
            return peer.say(pdata(pieces[-1])).status()


@pytest.fixture(scope="module")
def mirrored() -> Iterator[tuple[Gateway, Peer, Mirror]]:
    """A gateway that proposes corrections; copies go to the archive too, which sends everything back."""
    routes = {"copies": ["archive"]}
    policy = {"correct": "propose"}
    with (
        gateway(
            start_archive=False, console=NO_CONSOLE, routes=routes, policy=policy, work=ONE_WORKER
        ) as line,
        storage_scp(line.archive.port) as archive,
    ):
        mirror = Mirror(archive, line.port)
        mirror.start()
        yield line, archive, mirror
        mirror.ending.set()
        mirror.join(10)


def decide(line: Gateway, what: str, ds: Dataset) -> None:
    done = line.cli("quarantine", what, str(ds.SOPInstanceUID), "--by", "ann", "--note", "looked at it")
    assert done.returncode == 0, done.stderr


def held(line: Gateway, ds: Dataset) -> list[dict[str, Any]]:
    holds = json.loads(line.cli("quarantine", "list", "--json").stdout)
    return [hold for hold in holds if hold["sop_instance_uid"] == ds.SOPInstanceUID]


def test_a_proposal_waits_for_a_person_who_sends_exactly_that_copy(
    mirrored: tuple[Gateway, Peer, Mirror], folder: Path
) -> None:
    line, _, _ = mirrored
    ds = film(turn=270)
    assert sent(line, ds, folder)["decision"] == "correct"
    assert [hold["copy_ready"] for hold in held(line, ds)] == [True]
    assert copies_of(line.ai, ds.SOPInstanceUID) == []
    decide(line, "correct", ds)
    (row,) = settled(line, [ds])
    assert held(line, ds) == []
    (copy,) = copies_of(line.ai, ds.SOPInstanceUID)
    assert (copy.Rows, copy.Columns) == (ds.Columns, ds.Rows)
    assert [d["kind"] for d in row["deliveries"] if d["destination"] == "chest-ai"] == ["copy"]


def test_a_proposal_that_is_declined_sends_the_original(
    mirrored: tuple[Gateway, Peer, Mirror], folder: Path
) -> None:
    line, _, _ = mirrored
    ds = film(turn=180)
    sent(line, ds, folder)
    decide(line, "release", ds)
    settled(line, [ds])
    original = dataset_bytes(saved(ds, folder))
    assert [dataset_bytes(path) for path in at(line.ai, ds.SOPInstanceUID)] == [original]
    assert copies_of(line.ai, ds.SOPInstanceUID) == []


def test_a_rejected_proposal_sends_nothing(mirrored: tuple[Gateway, Peer, Mirror], folder: Path) -> None:
    line, archive, _ = mirrored
    ds = film(inverted=True)
    sent(line, ds, folder)
    decide(line, "reject", ds)
    (row,) = settled(line, [ds])
    assert [d["destination"] for d in row["deliveries"]] == ["archive"]
    assert archive.uids.count(str(ds.SOPInstanceUID)) == 1


def test_an_archive_that_sends_everything_back_makes_no_loop(
    mirrored: tuple[Gateway, Peer, Mirror], folder: Path
) -> None:
    """Originals and copies come back: 0x0000, gated once, and nothing goes out a second time."""
    line, archive, mirror = mirrored
    ds = film(turn=90)
    sent(line, ds, folder)
    decide(line, "correct", ds)
    settled(line, [ds])
    wait_for(lambda: len(mirror.answers) == len(archive.uids), 15, "not everything was sent back")
    (copy,) = copies_of(line.ai, ds.SOPInstanceUID)
    (back,) = settled(line, [copy])
    assert (back["decision"], back["reasons"], back["deliveries"]) == ("withhold", ["OURS"], [])
    assert history(line, ds).count("decided") == 1
    assert set(mirror.answers) == {0}
    assert len(archive.uids) == len(set(archive.uids))


# --- observe; an AI that is away; SIGTERM ---------------------------------------------------------


def test_observing_sends_everything_and_an_ai_that_is_away_gets_it_later(folder: Path) -> None:
    """Nothing is held; the archive does not wait for the AI; a stop under load loses nothing."""
    often = {"FILMGATE_DESTINATIONS__CHEST_AI__RETRY__LONGEST_S": "2"}
    films = [film(), film("hand"), film(turn=90), *(film() for _ in range(27))]
    paths = {str(ds.SOPInstanceUID): saved(ds, folder) for ds in films}
    with gateway(
        start_ai=False, console=NO_CONSOLE, env=often, policy={"mode": "observe"}, work=ONE_WORKER
    ) as line:
        with pushing(line, list(paths.values())) as answers:
            wait_for(lambda: len(answers) > 3, 15, "nothing was answered")
            assert line.stop() < 20
        assert any(row["decision"] is None for row in line.films())
        line.start()
        safe = {answer.sop_instance_uid for answer in answers if answer.ok}
        assert safe <= {row["sop_instance_uid"] for row in line.films()}
        push(line, *(path for uid, path in paths.items() if uid not in safe))
        wait_for(lambda: everything_at(line.archive, films), 30, "not at the archive")
        assert line.ai.files() == []
        line.ai.start()
        rows = settled(line, films)
        assert everything_at(line.ai, films)
        assert [row["decision"] for row in rows[:3]] == ["pass", "quarantine", "correct"]
        assert len(line.ai.files()) == len(line.archive.files()) == len(films)
        assert held(line, films[1]) == []


def everything_at(receiver: Receiver, films: list[Dataset]) -> bool:
    return all(len(at(receiver, ds.SOPInstanceUID)) == 1 for ds in films)


# --- a network that is not there; a disk that is full ---------------------------------------------


@contextmanager
def small_disk(root: Path, size_mb: int) -> Iterator[Path]:
    """A file system of its own for the state folder."""
    state = root / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0755", "tmpfs", str(state)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here; it takes root")
    try:
        yield state
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


def cut_bundles(folder: Path) -> Path:
    """The shipped bundles, one with weights that break off."""
    bundles = Path(shutil.copytree(ROOT / "models" / "bundles", folder / "bundles"))
    weights = bundles / "rotation" / "models" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return bundles


def not_ready(line: Gateway) -> dict[str, str]:
    """What /readyz says is in the way, and why."""
    answer = httpx.get(f"http://127.0.0.1:{line.console_port}/readyz", trust_env=False)
    assert answer.status_code == 503
    return {check["what"]: check["why"] for check in answer.json()["checks"] if not check["ok"]}


def offered(line: Gateway, path: Path) -> scu.SentResult:
    (answer,) = scu.send([path], "127.0.0.1", line.port, "FILMGATE")
    return answer


def big(folder: Path, size_mb: int) -> Path:
    return saved(change(film(), PixelData=bytes(size_mb << 20)), folder)


def test_a_missing_network_holds_films_and_a_full_disk_refuses_them(
    tmp_path_factory: pytest.TempPathFactory, folder: Path
) -> None:
    """Fail closed, for the AI only; no 0x0000 without room, and all is well again when there is some."""
    work = {**ONE_WORKER, "bundles": str(cut_bundles(folder))}
    root = tmp_path_factory.mktemp("rig")
    with small_disk(root, 96) as state, gateway(root, work=work, store={"min_free_mb": 16}) as line:
        ds = film()
        row = sent(line, ds, folder)
        assert (row["decision"], row["reasons"]) == ("quarantine", ["MODEL_MISSING"])
        assert (len(at(line.archive, ds.SOPInstanceUID)), line.ai.files()) == (1, [])
        models = not_ready(line)["models"]
        assert "gate rotation" in models
        assert models.endswith("films that it should judge are held")

        assert offered(line, big(folder, 100)).status == 0xA700  # full in the middle of an object
        assert list((state / "incoming").iterdir()) == []
        waiting, refused = film(), film()
        with stopped(line, " work "):
            wait_for(lambda: offered(line, saved(waiting, folder)).ok, 15, "still refused")
            fill(state)
        wait_for(lambda: "congestion" in offered(line, saved(refused, folder)).text, 15, "not refused")
        wait_for(
            lambda: any("worker" in said and "disk is full" in said for said in line.lines), 15, "worked"
        )
        assert at(line.archive, refused.SOPInstanceUID) == []
        (state / "filler").unlink()
        wait_for(lambda: offered(line, saved(refused, folder)).ok, 15, "still refused")
        assert [row["decision"] for row in settled(line, [waiting, refused])] == ["quarantine"] * 2


def fill(state: Path) -> None:
    """Leave not one byte."""
    with suppress(OSError), (state / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1 << 16))
