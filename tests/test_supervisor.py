"""`filmgate up` with small stand-ins for the real processes: start, restart, stop, new settings."""

from __future__ import annotations

import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from busy import busy, starve
from dicom_peers import RawPeer, SlowSender, echo
from structlog.testing import capture_logs

from gateway.errors import FilmgateError, SettingsError
from gateway.ledger import Ledger
from gateway.ledger.records import Received
from gateway.process import health
from gateway.process.health import HERE
from gateway.settings import (
    ClassifierDestination,
    FolderDestination,
    GatewaySettings,
    LogSettings,
    Settings,
    load,
)
from gateway.supervisor import supervisor
from gateway.supervisor.processes import FIRST_BACKOFF_S, Child, Silence, Spec
from gateway.supervisor.supervisor import (
    Supervisor,
    check_port,
    child_environment,
    plan,
    write_snapshot,
)

ROLES = ("redis", "listener", "dispatcher", "worker")
WAIT_S = 90.0  # on a machine that others use

# Tells the test what it does; is ready at once; stops when asked, or never ("stubborn"); as a worker writes
# on and on ("loud"). Says nothing to a supervisor that was killed meanwhile.
STAND_IN = """
import os, signal, socket, sys, threading
events = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
events.connect(sys.argv[1])
name, say = os.environ["FILMGATE_PROCESS"], lambda text: events.send(text.encode())
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("a line of", name, flush=True)
def shout():
    while True: os.write(2, b"%4000d\\n" % 1)
if "loud" in sys.argv and "worker" in name: threading.Thread(target=shout, daemon=True).start()
say(f"{name} started {os.getpid()}")
pipe = int(os.environ["FILMGATE_READY_FD"])
try: os.write(pipe, b"ready")
except BrokenPipeError: pass
if "mute" not in sys.argv: os.close(pipe)
signal.sigwait({signal.SIGTERM})
say(f"{name} stopped {os.getpid()}")
if "stubborn" in sys.argv: signal.pause()
"""


class Events:
    """What the stand-ins tell, in order."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "events")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(WAIT_S)

    def next(self, start: str = "") -> list[str]:
        """Wait for the next one (that starts so), as words after the process's name."""
        while True:
            text = self._socket.recv(200).decode()
            if text.startswith(start):
                return text.split()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Events]:
    heard = Events(tmp_path)
    yield heard
    heard.close()


@pytest.fixture
def settings(tmp_path: Path, free_port: int) -> Settings:
    return Settings(state=tmp_path / "state", gateway=GatewaySettings(port=free_port))


def stand_ins(events: Events, *extra: str) -> Callable[[Settings, Path], list[Spec]]:
    command = (sys.executable, "-S", "-c", STAND_IN, events.path, *extra)
    return lambda settings, _: [
        Spec(role, number, command)
        for role in ROLES
        for number in range(1, settings.gateway.processes + 1 if role == "listener" else 2)
    ]


Act = Callable[["queue.Queue[str]"], None]


def supervise(
    settings: Settings,
    act: Act,
    specs: Callable[[Settings, Path], list[Spec]],
    reload: Callable[[], Settings] | None = None,
    hang_s: float = supervisor.HANG_S,
    taken: Callable[[Settings], None] = lambda _: None,
) -> None:
    """Supervise in this thread while `act` does things in another; SIGTERM when it is done."""
    said: queue.Queue[str] = queue.Queue()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act(said)
        except BaseException as error:  # noqa: BLE001  told to the test below
            failed.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run)
    up = Supervisor(
        settings,
        reload=reload or (lambda: settings),
        say=said.put,
        plan=specs,
        hang_s=hang_s,
        taken=taken,
    )
    thread.start()
    up.run()
    thread.join()
    if failed:
        raise failed[0]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.redis_server.answers", lambda _: True)
    monkeypatch.setattr(supervisor, "PORT_WAIT_S", 0.0)


def test_it_says_ready_when_all_are_and_stops_them_in_order(settings: Settings, events: Events) -> None:
    """Listener first, Redis last; the line on standard output has the word that scripts wait for."""
    order = []

    def act(said: queue.Queue[str]) -> None:
        text = said.get(timeout=WAIT_S)
        assert text.startswith(f"filmgate is ready: FILMGATE listens on 127.0.0.1:{settings.gateway.port}")

    supervise(settings, act, stand_ins(events))
    while len(order) < len(ROLES):
        words = events.next()
        if "stopped" in words:
            order.append(words[0])
    assert order[0] == "listener"
    assert order[-1] == "redis"


def test_ready_counts_what_is_closed(settings: Settings, events: Events, tmp_path: Path) -> None:
    """It takes films in, and some of them get nowhere."""
    blocks = {"x": FolderDestination(path=tmp_path / "none"), "y": ClassifierDestination(bundle="./none")}
    half = settings.model_copy(update={"destinations": blocks})

    def act(said: queue.Queue[str]) -> None:
        assert "; closed: 1 classifier, 1 destination (`filmgate doctor`" in said.get(timeout=WAIT_S)

    supervise(half, act, stand_ins(events))


def test_children_write_with_their_name_in_front(
    settings: Settings, events: Events, capfd: pytest.CaptureFixture[str]
) -> None:
    """One stream for all, and it can be told who wrote what."""

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        events.next("worker 1 started")

    supervise(settings, act, stand_ins(events))
    assert "worker 1   | a line of worker 1\n" in capfd.readouterr().err


def test_a_worker_that_dies_is_started_again_and_its_film_is_free_at_once(
    settings: Settings, events: Events
) -> None:
    """kill -9 costs a film a fraction of a second, not the time of its lease."""
    now = datetime.now(UTC)

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        pid = int(events.next("worker 1 started")[3])
        ledger = Ledger.open(settings.ledger_url)
        ledger.record([Received("1.2", "1.2.3", "1.2.840.10008.1.2.1", "0" * 64, 10, None, now)])
        assert ledger.claim(f"{socket.gethostname()}:{pid}") is not None
        assert ledger.ready_jobs() == 0
        os.kill(pid, signal.SIGKILL)
        again = int(events.next("worker 1 started")[3])
        assert again != pid
        (told,) = health.reports(settings.state)
        assert ("process worker 1", "killed by SIGKILL") in [(one.what, one.error) for one in told.troubles]
        assert ledger.ready_jobs() == 1
        ledger.close()

    supervise(settings, act, stand_ins(events))


def test_restarts_wait_longer_and_longer() -> None:
    """A process that cannot run does not eat the machine."""
    child = Child(Spec("worker", 1, ("/no/such/program",)))
    waits = []
    for _ in range(8):
        assert not child.start({})
        waits.append(child.next_start_s)
    assert waits[:3] == pytest.approx([FIRST_BACKOFF_S, 1.0, 2.0], abs=0.1)
    assert waits[-1] == pytest.approx(30.0, abs=0.1)
    assert not child.due


def test_the_last_line_of_a_crash_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Also one that was cut short: it may say why."""
    command = (sys.executable, "-S", "-c", "import os; os.write(2, b'whole\\nFatal Python err'); os._exit(9)")
    child = Child(Spec("worker", 1, command))
    assert child.start({})
    end = time.monotonic() + 20
    while not (how := child.ended()):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert how == "exit code 9"
    assert capfd.readouterr().err == "worker 1   | whole\nworker 1   | Fatal Python err\n"


def test_any_signal_that_ends_a_child_is_told() -> None:
    """Those for real time have no name."""
    child = Child(Spec("worker", 1, (sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 40)")))
    assert child.start({})
    end = time.monotonic() + WAIT_S
    while not (how := child.ended()):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert how == "killed by signal 40"


def test_two_signals_at_the_same_moment_are_one(
    settings: Settings, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timeout(1) tells a process, and then its group: what is in hand is finished all the same."""
    monkeypatch.setattr(supervisor, "AGAIN_S", WAIT_S)  # a moment may be long on a busy machine

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        os.kill(os.getpid(), signal.SIGINT)  # and `supervise` sends SIGTERM

    supervise(settings, act, stand_ins(events))
    told = [" ".join(events.next()[:-1]) for _ in (*ROLES, *ROLES)]
    assert told[-1] == "redis stopped"


def test_a_child_that_will_not_stop_is_killed(
    settings: Settings, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole stop has an end, whatever a child does."""
    stages = ((("listener", "worker", "dispatcher", "redis"), 0.0, 0.3),)
    monkeypatch.setattr(supervisor, "STOP_STAGES", stages)
    pids = []

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        pids.extend(int(events.next()[-1]) for _ in ROLES)

    supervise(settings, act, stand_ins(events, "stubborn"))
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_bad_new_settings_are_refused_and_the_old_stay(
    settings: Settings, events: Events, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGHUP with a slip in the file: nothing restarts, and the log says file and line."""
    reloads: queue.Queue[str] = queue.Queue()

    def reload() -> Settings:
        reloads.put("")
        raise SettingsError("filmgate.yaml:3: unknown key 'destinatons'; did you mean 'destinations'?")

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        os.kill(os.getpid(), signal.SIGHUP)
        reloads.get(timeout=WAIT_S)

    supervise(settings, act, stand_ins(events), reload)
    started = [events.next()[-2] for _ in ROLES]
    assert started == ["started"] * len(ROLES)
    shown = capfd.readouterr()
    assert "filmgate.yaml:3: unknown key 'destinatons'" in shown.out + shown.err


def test_the_log_of_the_supervisor_follows_new_settings(settings: Settings, events: Events) -> None:
    """Else one line in a hundred is no JSON when `log.json` was switched on."""
    others = settings.model_copy(update={"log": LogSettings(json=True)})
    taken: queue.Queue[Settings] = queue.Queue()

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        os.kill(os.getpid(), signal.SIGHUP)
        assert taken.get(timeout=WAIT_S) == others

    supervise(settings, act, stand_ins(events), reload=lambda: others, taken=taken.put)


def test_who_ends_again_and_again_is_no_trouble_when_new_settings_do_not_want_it(
    settings: Settings, events: Events
) -> None:
    """Fewer workers, because one could not run: `filmgate doctor` is content with that."""
    more = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"processes": 2})})
    whole = stand_ins(events)

    def specs(settings: Settings, path: Path) -> list[Spec]:
        ends = Spec("listener", 2, ("false",))
        return [ends if spec.name == ends.name else spec for spec in whole(settings, path)]

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        await_troubles("process listener 2")
        os.kill(os.getpid(), signal.SIGHUP)
        await_troubles()

    supervise(more, act, specs, reload=lambda: settings)


def await_troubles(*names: str) -> None:
    until = time.monotonic() + WAIT_S
    while tuple(one.what for one in HERE.troubles()) != names:
        assert time.monotonic() < until, HERE.troubles()
        time.sleep(0.01)


def test_good_new_settings_replace_the_processes_one_by_one(settings: Settings, events: Events) -> None:
    """SIGHUP: the old worker and dispatcher go first; the old listener goes when its successor is there."""
    more = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"processes": 2})})
    told: list[str] = []

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        os.kill(os.getpid(), signal.SIGHUP)
        while not {"listener 2 started", "listener 1 stopped"} <= set(told):
            words = events.next()
            told.append(" ".join(word for word in words[:3] if not word.isdigit() or len(word) == 1))

    supervise(settings, act, stand_ins(events), lambda: more)
    again = told[len(ROLES) :]
    assert again.index("worker 1 stopped") < again.index("worker 1 started")
    assert again.index("listener 1 started") < again.index("listener 1 stopped")


def test_who_is_replaced_and_does_not_stop_is_killed(
    settings: Settings, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGHUP: a worker that will not go does not keep its successor from starting."""
    monkeypatch.setattr(supervisor, "LEAVE_S", 0.3)

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        first = events.next("worker 1 started")
        os.kill(os.getpid(), signal.SIGHUP)
        assert events.next("worker 1 started") != first

    monkeypatch.setattr(supervisor, "STOP_STAGES", ((ROLES, 0.0, 0.3),))
    supervise(settings, act, stand_ins(events, "stubborn"))


def test_who_is_not_heard_any_more_is_ended_and_started_again(
    settings: Settings, events: Events, capfd: pytest.CaptureFixture[str]
) -> None:
    """It was ready, and its loop does not go round: a dead lock, say. Nobody else would notice."""

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        first = events.next("worker 1 started")
        assert events.next("worker 1 started") != first

    supervise(impatient(settings), act, stand_ins(events, "mute"), hang_s=0.5)
    shown = capfd.readouterr()
    assert "process hangs" in shown.out + shown.err


def impatient(settings: Settings) -> Settings:
    """Nobody waits long for this ledger, so a loop that stands still can be told soon."""
    return settings.model_copy(update={"ledger": settings.ledger.model_copy(update={"busy_timeout_s": 0.1})})


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_silence_of_a_process_that_gets_no_processor_is_not_its_own() -> None:
    """Nor is the time in which we did not look: we were stopped, or the whole machine was."""
    spin, sleep = "while True: pass", "import time; time.sleep(60)"
    with (
        subprocess.Popen([sys.executable, "-S", "-c", spin], preexec_fn=starve) as starved,
        subprocess.Popen([sys.executable, "-S", "-c", sleep]) as asleep,
        busy(30),
    ):
        silences = {one.pid: Silence(one.pid, 0.05) for one in (starved, asleep)}
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            threading.Event().wait(0.05)
            lasts_s = {pid: silence.lasts_s() for pid, silence in silences.items()}
        assert lasts_s[starved.pid] < lasts_s[asleep.pid] / 2
        threading.Event().wait(0.5)
        assert silences[asleep.pid].lasts_s() <= lasts_s[asleep.pid] + 0.1
        silences[asleep.pid].broken()
        assert silences[asleep.pid].lasts_s() == 0.0
        starved.kill()
        asleep.kill()


def real(events: Events) -> Callable[[Settings, Path], list[Spec]]:
    """Real listeners and a real dispatcher; a stand-in for the worker, which loads networks."""

    def specs(settings: Settings, config: Path) -> list[Spec]:
        roles = ("listener", "dispatcher")
        ours = [spec for spec in plan(settings, config) if spec.role in roles]
        return ours + [spec for spec in stand_ins(events)(settings, config) if spec.role == "worker"]

    return specs


def children(role: str) -> list[int]:
    """The processes of that command which the supervisor, in the main thread, started."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(OSError):
            if f"\0{role}\0" in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(int(pid))
    return found


def await_another(role: str, old: int) -> None:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if (now := children(role)) and old not in now:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"no other {role}")


def test_real_processes_that_are_halted_are_ended_and_started_again(
    settings: Settings, events: Events
) -> None:
    """SIGSTOP, as a debugger does it; who connects meanwhile is served by the next one."""
    roles = ("listen", "dispatch")

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        halted = {role: children(role)[0] for role in roles}
        for pid in halted.values():
            os.kill(pid, signal.SIGSTOP)
        for role, pid in halted.items():
            await_another(role, pid)
        with RawPeer(settings.gateway.port, timeout=WAIT_S) as peer:
            peer.associate()

    supervise(impatient(settings), act, real(events), hang_s=2.0)


def test_a_film_under_way_outlives_new_settings(settings: Settings, events: Events) -> None:
    """SIGHUP, and SIGTERM of a listener by hand: the old one finishes, a new one takes whoever comes."""
    port = settings.gateway.port

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        for told in ("all", "the listener"):
            (old,) = children("listen")
            slow = SlowSender(port)
            os.kill(*((os.getpid(), signal.SIGHUP) if told == "all" else (old, signal.SIGTERM)))
            until = time.monotonic() + WAIT_S
            while len(children("listen")) < 2 and time.monotonic() < until:
                assert echo(port)
            slow.more()
            assert echo(port)
            assert slow.finish() == 0x0000
            await_another("listen", old)

    supervise(settings, act, real(events))


def test_what_cannot_change_while_it_runs_is_refused(settings: Settings, tmp_path: Path) -> None:
    """Another state folder or port needs a stop and a start."""
    with pytest.raises(SettingsError, match="state cannot change while filmgate runs"):
        supervisor._refuse_moves(settings, settings.model_copy(update={"state": tmp_path}))


def test_a_second_up_on_the_same_state_folder_is_refused(settings: Settings, events: Events) -> None:
    """Two supervisors would fight for the same films; the text names the first."""

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        second = [sys.executable, "-m", "gateway.cli", "up", "--state", str(settings.state)]
        shown = subprocess.run(second, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert shown.returncode == 1
        assert f"another filmgate (process {os.getpid()}) runs on {settings.state}" in shown.stderr

    supervise(settings, act, stand_ins(events))


def test_a_taken_port_is_named_and_nothing_is_started(settings: Settings, events: Events) -> None:
    """SO_REUSEPORT would let two gateways share a port unseen."""
    with socket.create_server(("127.0.0.1", settings.gateway.port)):
        up = Supervisor(settings, reload=lambda: settings, say=print, plan=stand_ins(events))
        with pytest.raises(FilmgateError, match=f"port {settings.gateway.port} on 127.0.0.1 cannot be had"):
            up.run()
    check_port("127.0.0.1", settings.gateway.port)
    with pytest.raises(FilmgateError, match="cannot be had"):
        check_port("no.such.host.invalid", 104)


def test_after_an_up_that_was_killed_the_port_is_waited_for(settings: Settings, events: Events) -> None:
    """Its listeners finish what they receive first; who starts filmgate again need not try twice."""
    settings.state.mkdir(exist_ok=True)
    (settings.state / "up.lock").write_text("4242\n", encoding="ascii")
    last = socket.create_server(("127.0.0.1", settings.gateway.port))
    up = Supervisor(settings, reload=lambda: settings, say=print, plan=stand_ins(events))
    with capture_logs() as logs, ThreadPoolExecutor(1) as other:
        started = other.submit(until_said, logs, "the port is still taken", last.close)
        with supervisor._alone(settings.state) as killed, up._take_port(killed) as port:
            assert port.getsockname()[1] == settings.gateway.port
        started.result()
    assert (settings.state / "up.lock").read_bytes() == b""
    with supervisor._alone(settings.state) as killed:
        assert not killed


def until_said(logs: Sequence[Mapping[str, Any]], event: str, then: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not any(line["event"] == event for line in logs):
        assert time.monotonic() < end
        threading.Event().wait(0.01)
    then()


def test_children_end_with_a_supervisor_that_is_killed(
    tmp_path: Path, events: Events, free_port: int
) -> None:
    """kill -9 of the supervisor leaves nobody behind that holds port and files."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_supervisor as t
from pathlib import Path
settings = t.Settings(state=Path({str(tmp_path / "state")!r}), gateway=t.GatewaySettings(port={free_port}))
events = t.Events.__new__(t.Events)
events.path = {events.path!r}
t.supervisor.redis_server.answers = lambda _: True
t.Supervisor(settings, reload=lambda: settings, say=print, plan=t.stand_ins(events)).run()
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as up:
        try:
            for _ in ROLES:
                assert "started" in events.next()
        finally:  # else nobody ends it, and the test waits for it for ever
            up.kill()
        stopped = set()
        while stopped != set(ROLES):
            words = events.next()
            if "stopped" in words:
                stopped.add(words[0])


def test_children_read_a_private_copy_of_the_settings(settings: Settings) -> None:
    """The file that is edited meanwhile is not theirs; secrets in the copy are for this user alone."""
    path = write_snapshot(settings)
    assert load(path, settings.state, {}) == settings
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    env = {"FILMGATE_GATEWAY__PORT": "1", "FILMGATE_CRASH_AT": "commit:1", "HOME": "/"}
    assert child_environment(env) == {"FILMGATE_CRASH_AT": "commit:1", "HOME": "/"}


def test_children_read_the_characters_that_were_written(settings: Settings, tmp_path: Path) -> None:
    """Their copy is JSON, and they read it as YAML: beyond U+FFFF, and what YAML takes for a line's end."""
    letters = "\U00020bb7 \U0001f9b4 \u00e4 \u2028 \u2029 \u0085 \ufeff \uffff \t end"
    there = FolderDestination(kind="folder", path=tmp_path / letters)
    written = settings.model_copy(update={"destinations": {"archive": there}})
    (read,) = load(write_snapshot(written), settings.state).destinations.values()
    assert read == there


def test_the_plan_of_one_machine(settings: Settings) -> None:
    """Redis first, one worker a core unless told, no Redis of ours when a URL is given."""
    names = [spec.name for spec in plan(settings, Path("c"))]
    assert names[:3] == ["redis", "listener 1", "dispatcher"]
    assert len(names) == 3 + (os.cpu_count() or 1)
    other = load(None, settings.state, {"FILMGATE_REDIS__URL": "redis://x", "FILMGATE_WORK__WORKERS": "3"})
    assert [spec.name for spec in plan(other, Path("c"))][-3:] == ["worker 1", "worker 2", "worker 3"]


@pytest.mark.parametrize(
    ("wanted", "memory_mb", "running", "says"),
    [
        (0, 8192, 7, "7 of 16 cores: memory for 7"),
        (0, 65536, 16, ""),
        (12, 8192, 12, "more workers than memory"),
    ],
)
def test_workers_are_as_many_as_memory_is_for(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wanted: int,
    memory_mb: int,
    running: int,
    says: str,
) -> None:
    """A number that the settings name is taken, with a warning; a container's limit bounds the default."""
    monkeypatch.setattr("gateway.supervisor.machine.cores", lambda: 16)
    monkeypatch.setattr("gateway.supervisor.machine.memory_mb", lambda: memory_mb)
    work = settings.work.model_copy(update={"workers": wanted})
    specs = plan(settings.model_copy(update={"work": work}), Path("settings.json"))
    assert sum(spec.role == "worker" for spec in specs) == running
    told = capsys.readouterr().err
    assert says in told if says else told == ""
