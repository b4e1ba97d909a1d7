"""The state folder is for its own user: modes, owners, locks, core files, modules of the working folder."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from gateway import redis_server
from gateway.bootstrap import Shell
from gateway.cli.upkeep import machine_checks
from gateway.errors import FilmgateError
from gateway.ledger import Ledger
from gateway.ledger.records import Received
from gateway.process import private
from gateway.process.health import Health
from gateway.settings import GatewaySettings, Settings, read
from gateway.store import Store
from gateway.supervisor import lock
from gateway.supervisor.plan import plan
from gateway.supervisor.processes import Child, Spec
from gateway.supervisor.snapshot import write_snapshot

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where others may look into, as /var/lib is."""
    tmp_path.chmod(0o755)
    with usual_umask():
        yield tmp_path


def test_a_state_folder_of_the_usual_mode_is_made_private(folder: Path) -> None:
    """As systemd's StateDirectory, a Docker volume and `mkdir` make it; what is in it may have been open."""
    state = folder / "state"
    state.mkdir(0o755)
    (state / "store").mkdir(0o755)
    assert "0700 now" in private.claim(state)
    assert mode(state) == 0o700
    assert private.claim(state) == ""


@pytest.mark.parametrize("on_purpose", [0o750, 0o2770, 0o710])
def test_a_group_that_was_let_in_on_purpose_stays(folder: Path, on_purpose: int) -> None:
    state = folder / "state"
    state.mkdir()
    state.chmod(on_purpose)
    assert private.claim(state) == ""
    assert mode(state) == on_purpose
    assert "its group can reach" in machine_checks.private(Settings(state=state)).detail


def test_a_folder_that_holds_other_things_keeps_its_mode_and_ours_in_it_do_not(folder: Path) -> None:
    """`state: .` in a home folder, say: closing that is not for us."""
    state = folder / "shared"
    state.mkdir()
    (state / "theirs").mkdir()
    (state / "store").mkdir()
    (state / "ledger.sqlite").write_text("")
    assert "holds other things" in private.claim(state)
    modes = [mode(state / name) for name in (".", "theirs", "store", "ledger.sqlite")]
    assert modes == [0o755, 0o755, 0o700, 0o600]


@pytest.mark.parametrize("open_mode", [0o777, 0o1777])
def test_one_that_anybody_may_write_to_is_refused(folder: Path, open_mode: int) -> None:
    """As /tmp is: somebody could put other films into it, or take the ledger away."""
    state = folder / "state"
    state.mkdir()
    (state / "theirs").mkdir()
    state.chmod(open_mode)
    with pytest.raises(FilmgateError, match=r"anybody may write .* holds 'theirs'.*Name a folder inside it"):
        private.claim(state)
    assert mode(state) == open_mode
    (state / "theirs").rmdir()
    if open_mode == 0o777:  # an empty volume
        private.claim(state)
        assert mode(state) == 0o700


@as_root
def test_one_of_another_user_is_refused_in_words(folder: Path) -> None:
    state = folder / "state"
    state.mkdir()
    os.chown(state, NOBODY, NOBODY)
    settings = Settings(state=state)
    with pytest.raises(FilmgateError, match=r"belongs to \S+ \(65534\), and this runs as root \(0\).*chown"):
        Shell.open(settings)
    assert machine_checks.private(settings).result == "warning"
    assert list(state.iterdir()) == []


@as_root
def test_another_user_can_neither_read_nor_lock_anything(free_port: int) -> None:
    """A read lock on the ledger kept the listener from storing films; one on up.lock kept `up` away."""
    with tempfile.TemporaryDirectory() as name, usual_umask():  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "state").mkdir(0o755)
        settings = Settings(state=folder / "state", gateway=GatewaySettings(port=free_port))
        with lock.alone(settings.state):
            write_snapshot(settings)
            Ledger.open(settings.ledger_url, migrate_first=True).close()
            Store(settings.state, 0)
        names = "ledger.sqlite up.lock run/settings.json store/."
        tried = f'for one in {names}; do cat "state/$one"; ls "state/$one"; done'
        shown = subprocess.run(
            ["/bin/sh", "-c", f"ls; {tried}"],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.stdout == "state\n"
        assert shown.stderr.count("Permission denied") == 8


def test_what_is_made_is_private_in_itself(folder: Path) -> None:
    """Also where the state folder is not: the ledger and its -wal, films, locks, settings, Redis."""
    state = folder / "state"
    settings = Settings(state=state)
    shell = Shell.open(settings, migrate_first=True)
    incoming = shell.store.begin("1.2.840.10008.5.1.4.1.1.1.1", "1.2.3", "1.2.840.10008.1.2.1")
    incoming.write(bytes(8))
    incoming.finish()
    write_snapshot(settings)
    redis_server.command(settings)
    Health().keep_in(state, "supervisor")
    private.lock_file(state / "dispatch.lock").close()
    shell.ledger.counts()
    with_others = [path for path in state.rglob("*") if mode(path) & private.OTHERS]
    assert with_others == []
    assert (state / "ledger.sqlite-wal").exists()
    assert mode(state) == mode(state / "run") == mode(state / "redis") == 0o700
    assert mode(state / "run" / "settings.json") == 0o600
    shell.close()


def test_redis_makes_private_files(folder: Path) -> None:
    """It makes its own: whatever umask the gateway was started with."""
    made = folder / "made"
    code = f"open({str(made)!r}, 'w').close()"
    child = Child(Spec("redis", 1, (sys.executable, "-S", "-c", code)))
    assert child.start(dict(os.environ))
    os.read(child.ready_pipe, 1)  # its end: the process is gone
    while not child.ended():
        pass
    assert mode(made) == 0o600


def test_a_lock_is_a_file_of_ours_and_no_link(folder: Path) -> None:
    """A link would let whoever can write there choose which file of ours is emptied."""
    precious = folder / "precious"
    precious.write_text("kept")
    (folder / "up.lock").symlink_to(precious)
    os.mkfifo(folder / "dispatch.lock")
    with pytest.raises(FilmgateError, match="cannot be used"), lock.alone(folder):
        pass
    with pytest.raises(OSError, match="no file of this user"):
        private.lock_file(folder / "dispatch.lock")
    assert precious.read_text() == "kept"


def test_to_ask_who_runs_does_not_keep_up_from_starting(folder: Path, free_port: int) -> None:
    """`doctor` shares the lock for an instant."""
    state = folder / "state"
    settings = Settings(state=state, gateway=GatewaySettings(port=free_port))
    assert lock.running(settings) == ""
    assert not state.exists()
    with lock.alone(state):
        pass
    with (state / "up.lock").open() as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)
        heard, told = socket.socketpair()
        code = "import os, sys, fcntl; os.read(int(sys.argv[1]), 1); fcntl.flock(int(sys.argv[2]), 8)"
        command = [sys.executable, "-S", "-c", code, str(heard.fileno()), str(asked.fileno())]
        with subprocess.Popen(command, pass_fds=(heard.fileno(), asked.fileno())):
            told.send(b"x")  # the lock is let go while `up` waits for it
            with lock.alone(state):
                assert (state / "up.lock").read_text() == f"{os.getpid()}\n"
        heard.close()
        told.close()


# Processes


def owed(settings: Settings, *names: str) -> None:
    """One object in the store, owed to each."""
    shell = Shell.open(settings, migrate_first=True)
    incoming = shell.store.begin("1.2.840.10008.5.1.4.1.1.1.1", "1.2.3", "1.2.840.10008.1.2.1")
    incoming.write(bytes(8))
    kept = incoming.finish()
    row = Received(
        "1.2.840.10008.5.1.4.1.1.1.1",
        "1.2.3",
        "1.2.840.10008.1.2.1",
        kept.digest,
        kept.size_bytes,
        None,
        datetime.now(UTC),
    )
    shell.ledger.record([row], always=names)
    shell.close()


def test_a_dispatcher_sends_to_the_archive_while_another_destination_cannot_be_built(folder: Path) -> None:
    """The real process, as `up` starts it, in a working folder that holds files named like modules.

    It leaves no core file, takes no module from there, and what is owed to the closed destination waits.
    """
    (folder / "archive").mkdir()
    for module in ("json", "yaml", "numpy", "structlog"):
        (folder / f"{module}.py").write_text(f"open('taken', 'a').write('{module}')\n")
    tree = {
        "state": "state",
        "destinations": {
            "archive": {"kind": "folder", "path": "archive"},
            "broken": {"kind": "webhook", "url": "https://127.0.0.1:9/", "ca_file": "gone.pem"},
        },
        "routes": {"always": ["archive"]},
    }
    config = folder / "filmgate.yaml"
    config.write_text(yaml.safe_dump(tree))
    settings = read(config, None, {}).settings
    owed(settings, "archive", "broken")
    (spec,) = (spec for spec in plan(settings, config) if spec.role == "dispatcher")
    with subprocess.Popen(
        spec.command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"dispatcher is ready\n"
        limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        ledger = Ledger.open(settings.ledger_url)
        states: dict[str, tuple[str, str]] = {}
        while states.get("archive", ("",))[0] != "delivered" or not states["broken"][1]:
            assert process.poll() is None
            (row,) = ledger.films()
            states = {one["destination"]: (one["state"], one["error"] or "") for one in row.deliveries}
        ledger.close()
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert next(line.split()[4:6] for line in limits if line.startswith("Max core")) == ["0", "0"]
    assert states["broken"][0] == "retry"
    assert "it is closed: destinations.broken.ca_file" in states["broken"][1]
    assert b"destination closed" in errors
    assert len(list((folder / "archive").iterdir())) == 1
    assert not (folder / "taken").exists()


def test_every_python_that_we_start_leaves_the_working_folder_alone(tmp_path: Path) -> None:
    specs = plan(Settings(state=tmp_path), tmp_path / "filmgate.yaml")
    ours = [spec.command for spec in specs if spec.command[0] == sys.executable]
    assert len(ours) >= 3
    assert {command[1] for command in ours} == {"-P"}
