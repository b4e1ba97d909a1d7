"""`filmgate up`: starts, restarts and stops the processes of one machine.

    supervisor ── redis          unless redis.url names another one
               ├─ listener 1..n  gateway.processes of them, on one port
               ├─ dispatcher
               └─ worker 1..n    work.workers of them; they alone load torch

One thread and one selector: signals, what children write, and their word that they are ready or alive, all
arrive there (`process.supervised` is their side of it). A child whose loop no longer goes round is ended and
started again. The port is the supervisor's: listeners come and go, and share its socket, so whoever connects
finds one. Children run on a copy of the settings that `up` found valid: a file that is edited meanwhile
cannot harm one that is restarted.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TextIO

import structlog

from gateway import redis_server
from gateway.errors import FilmgateError, LedgerError, SettingsError
from gateway.ledger import Ledger
from gateway.process import private
from gateway.process.health import HERE
from gateway.process.supervised import BACKLOG
from gateway.settings import PREFIX, Settings, read
from gateway.settings.lined_yaml import text_of
from gateway.supervisor import fitness, machine
from gateway.supervisor.processes import Child, Spec, own_code
from models import plain_files
from pipelines.policy import Policy, PolicyError

log = structlog.get_logger()

TICK_S = 0.2  # the end of a process is noticed this late at most
PORT_WAIT_S = 2.0  # for the port
DRAIN_WAIT_S = 20.0  # for the port, after an `up` that was killed: its listeners finish what they receive
ASKED_S = 5.0  # a lock that is shared so long is no passing question
REDIS_WAIT_S = 5.0  # the others start without Redis after this; they cope
ROLL_WAIT_S = 60.0  # a replaced child has so long to become ready before the next one's turn
HANG_S = 60.0  # a loop that did not go round for so long hangs, but for time that others kept from it
LEAVE_S = 30.0  # a replaced child has so long to end, of its own time
LOOKS_IN_A_HANG = 60
LEDGER_CALLS = 6  # that one round of a loop may wait for, each for ledger.busy_timeout_s
AGAIN_S = 0.5  # two signals nearer than that are one word: timeout(1) tells a process, and then its group
# A stop takes 20 s at most. A stage is asked when the ones before it have ended, or then; killed then. What
# is received has 12 s and a little, deliveries 10 s and 2 to break off, a worker until it is killed.
STOP_STAGES = (
    (("listener",), 0.0, 15.0),
    (("worker", "dispatcher"), 6.0, 19.0),
    (("redis",), 19.0, 19.5),
)
ROLL_ORDER = ("worker", "dispatcher", "listener")


def run(
    config: Path | None,
    state: Path | None,
    *,
    say: Callable[[str], None],
    taken: Callable[[Settings], None] = lambda _: None,
) -> None:
    """Supervise until SIGTERM or SIGINT: see Supervisor.run."""
    source = read(config, state).source  # named from now on: a file that vanishes must not mean the defaults
    config = source.absolute() if source else config
    Supervisor(load_all(config, state), reload=partial(load_all, config, state), say=say, taken=taken).run()


def load_all(config: Path | None, state: Path | None) -> Settings:
    """The settings, when policy.file can be used as well, no classifier is used that is off, and nothing is
    named that is surely not there. What may be there later is logged.

    Raises:
        SettingsError: one of them cannot be used.
    """
    loaded = read(config, state)
    settings = loaded.settings
    path = settings.policy.file
    if path is not None:
        _policy_text(path)
    found = list(fitness.troubles(settings))
    if refused := [f"{loaded.origin(one.loc)}: {one.words}" for one in found if one.refused]:
        raise SettingsError("\n".join(refused))
    for one in found:
        log.warning("settings", where=loaded.origin(one.loc), problem=one.words)
    return settings


def plan(settings: Settings, config: Path) -> list[Spec]:
    """The processes of one machine, in the order in which they are started."""
    ours = (sys.executable, "-P", "-m", "gateway.cli")  # no modules of the working folder
    same = ("--config", str(config), "--state", str(settings.state))
    specs = []
    if redis_server.is_embedded(settings):
        specs.append(Spec("redis", 1, tuple(redis_server.command(settings))))
    listeners = range(1, settings.gateway.processes + 1)
    specs += [Spec("listener", n, (*ours, "listen", *same)) for n in listeners]
    specs.append(Spec("dispatcher", 1, (*ours, "dispatch", *same)))
    workers = range(1, _workers(settings.work.workers) + 1)
    return specs + [Spec("worker", n, (*ours, "work", *same)) for n in workers]


def _policy_text(path: Path) -> str:
    """
    Raises:
        SettingsError: the rules cannot be read or used.
    """
    try:
        text = text_of(path)
        Policy.load(text)
    except SettingsError as error:
        raise SettingsError(f"policy.file: {error}") from error
    except PolicyError as error:
        raise SettingsError(f"policy.file: {path}:{error.line}: {error.words}") from error
    return text


def _short_of(running: int, settings: Settings) -> str:
    """ " of 16 cores: memory for 6", where memory and not the cores said how many."""
    cores = machine.cores()
    return f" of {cores} cores: memory for {running}" if not settings.work.workers and running < cores else ""


def _workers(wanted: int) -> int:
    """How many workers to run: those that the settings ask for, else one a core where memory allows."""
    cores, memory_mb = machine.cores(), machine.memory_mb()
    fitting = machine.workers(cores, memory_mb)
    if wanted > machine.workers(wanted, memory_mb):
        log.warning(
            "more workers than memory is for",
            workers=wanted,
            memory_for=machine.workers(wanted, memory_mb),
            free_mib=memory_mb,
            meaning="the system may end processes; films are safe and tried again: lower work.workers",
        )
    elif not wanted and fitting < cores:
        log.warning(
            "fewer workers than cores",
            workers=f"{fitting} of {cores} cores: memory for {fitting}",
            free_mib=memory_mb,
            meaning="films are gated more slowly; work.workers asks for more",
        )
    return wanted or fitting


class Supervisor:
    """The processes of one machine.

    Args:
        settings: what to run.
        reload: reads the settings anew; raises SettingsError when they cannot be used.
        say: prints a line for people on standard output.
        plan: the processes to run; tests run others.
        hang_s: how long the loop of a process may stand still; longer where one may wait for the ledger.
        taken: is told of new settings that are in force now.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reload: Callable[[], Settings],
        say: Callable[[str], None],
        plan: Callable[[Settings, Path], list[Spec]] = plan,
        hang_s: float = HANG_S,
        taken: Callable[[Settings], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._least_hang_s = hang_s
        self._child = partial(Child, look_s=max(TICK_S, hang_s / LOOKS_IN_A_HANG))
        self._plan = plan
        self._reload = reload
        self._say = say
        self._taken = taken
        self._selector = selectors.DefaultSelector()
        self._children: dict[str, Child] = {}
        self._leavers: list[Child] = []
        self._roll: deque[Spec] = deque()
        self._rolling: tuple[Child, float] | None = None
        self._stopping_since: float | None = None
        self._said_ready = False
        self._ledger: Ledger
        self._port: socket.socket  # open while we are not stopping

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; a second one, but for one at the same moment, kills what is left.

        Raises:
            FilmgateError: nothing was started: another `up` has the state folder, the port is taken, ...
        """
        settings = self._settings
        with _alone(settings.state) as killed, self._signals(), self._take_port(killed) as self._port:
            HERE.keep_in(settings.state, "supervisor")
            specs = self._plan(settings, write_snapshot(settings))
            busy_s = settings.ledger.busy_timeout_s
            self._ledger = Ledger.open(settings.ledger_url, busy_timeout_s=busy_s, migrate_first=True)
            try:
                self._children = {spec.name: self._child(spec) for spec in specs}
                self._start_redis()
                while self._stopping_since is None or self._running():
                    self._turn(TICK_S)
            finally:
                for child in self._running():
                    child.kill()
                self._ledger.close()

    # --- one turn of the loop ---------------------------------------------------------------------

    def _turn(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            key.data()
        for child in self._all():
            if child.running:
                self._look_for_end(child)
            if child.healthy:
                HERE.well(f"process {child.spec.name}")
        if self._stopping_since is not None:
            self._stop_on(time.monotonic() - self._stopping_since)
            return
        for child in self._running():
            self._look_for_hang(child)
        self._roll_on()
        for child in self._all():
            if child.due:
                self._start(child)
        self._maybe_ready()

    def _start(self, child: Child) -> None:
        threads = {"OMP_NUM_THREADS": "1"} if child.spec.role == "worker" else {}  # one worker a core
        listening = self._port.fileno() if child.spec.role == "listener" else -1
        if child.start(threads | child_environment(os.environ) | own_code(os.environ), listening):
            self._selector.register(child.output, selectors.EVENT_READ, partial(self._hear, child))
            self._selector.register(child.ready_pipe, selectors.EVENT_READ, partial(self._hear_pulse, child))

    def _hear(self, child: Child) -> None:
        if not child.hear(plain=self._settings.log.json_):
            self._selector.unregister(child.output)

    def _hear_pulse(self, child: Child) -> None:
        pipe = child.ready_pipe
        if not child.hear_pulse():
            self._selector.unregister(pipe)
        current = self._children.get(child.spec.name) is child
        if current and child.leaves and child.spec.role == "listener" and not child.asked:
            self._replace(child.spec)  # whoever connects must not wait until it has drained

    def _look_for_hang(self, child: Child) -> None:
        silent_s = child.silent_s()
        hang_s = max(self._least_hang_s, LEDGER_CALLS * self._settings.ledger.busy_timeout_s)
        if silent_s < (LEAVE_S if child.asked else hang_s):
            return
        log.error(
            "process does not stop" if child.asked else "process hangs",
            name=child.spec.name,
            for_s=round(silent_s),
            meaning="it is ended, and another one goes on; nothing that was received or is owed is lost",
        )
        child.kill()

    def _look_for_end(self, child: Child) -> None:
        pipes, pid, asked = (child.output, child.ready_pipe), child.pid, child.asked
        how = child.ended()
        if not how:
            return
        for pipe in pipes:
            with suppress(KeyError, ValueError):
                self._selector.unregister(pipe)
        if child.spec.role == "worker":
            self._free(pid, how, counted=not asked)
        if child.spec.role == "redis" and how == redis_server.CANNOT_START and self._stopping_since is None:
            self._mend_redis()
        if child in self._leavers:
            self._leavers.remove(child)
        elif child.unwanted:
            self._forget(child.spec.name)
        elif self._stopping_since is None:
            HERE.failed(f"process {child.spec.name}", how, child.failures)
            log.error("process ended", name=child.spec.name, how=how, started_again_in_s=child.next_start_s)

    def _forget(self, name: str) -> None:
        """It is not wanted any more: what went wrong with it is no trouble of this gateway."""
        del self._children[name]
        HERE.well(f"process {name}")

    def _free(self, pid: int, how: str, *, counted: bool) -> None:
        """Give the film of a worker that ended to another one at once, not after the lease.

        One that was asked to stop, and killed because it was late, counts as no attempt at its film.
        """
        attempts = self._settings.work.attempts
        owner, error = f"{socket.gethostname()}:{pid}", f"its worker ended: {how}"
        try:
            self._ledger.free_owner(
                owner,
                max_attempts=attempts,
                error=error,
                now=datetime.now(UTC),
                mode=self._settings.policy.mode,
                counted=counted,
            )
        except LedgerError as failure:
            log.warning("lease not freed", error=str(failure), meaning="it ends by itself")

    def _mend_redis(self) -> None:
        """Redis said that it cannot start: most often it cannot read its own file, which is of no worth."""
        try:
            kept = redis_server.set_aside(self._settings)
        except OSError as error:
            log.warning("redis files not set aside", error=str(error), meaning="workers look by themselves")
            return
        if kept is not None:
            log.warning(
                "redis files set aside", to=str(kept), meaning="redis starts empty; the ledger has every film"
            )

    def _maybe_ready(self) -> None:
        roles = {child.spec.role for child in self._children.values() if child.ready}
        if self._said_ready or not {"listener", "dispatcher", "worker"} <= roles:
            return
        self._said_ready = True
        gateway = self._settings.gateway
        workers = sum(child.spec.role == "worker" for child in self._children.values())
        shut = fitness.closed(self._settings)
        self._say(
            f"filmgate is ready: {gateway.ae_title} listens on {gateway.host}:{gateway.port}, "
            f"workers: {workers}{_short_of(workers, self._settings)}, state: {self._settings.state}"
            + (f"; closed: {fitness.in_numbers(shut)} (`filmgate doctor` says why)" if shut else "")
        )
        for what in shut:
            log.warning("closed", what=what, meaning="films for it are held or wait; see `filmgate doctor`")

    def _take_port(self, killed: bool) -> socket.socket:
        """Wait a little for the port; longer when the last `up` was killed: its listeners may have it."""
        until = time.monotonic() + (max(DRAIN_WAIT_S, PORT_WAIT_S) if killed else PORT_WAIT_S)
        gateway, said = self._settings.gateway, not killed
        while True:
            try:
                return open_port(gateway.host, gateway.port)
            except FilmgateError as error:
                if time.monotonic() >= until:
                    raise
                if self._stopping_since is not None:
                    raise FilmgateError(
                        "asked to stop before the port was free; nothing was started"
                    ) from error
            if not said:
                said = True
                meaning = f"the last `up` was killed; its listeners have {DRAIN_WAIT_S:g} s to finish"
                log.warning("the port is still taken", port=gateway.port, meaning=meaning)
            for key, _ in self._selector.select(TICK_S):
                key.data()

    def _start_redis(self) -> None:
        """Start Redis and wait a little for it: workers that find it there need not try again."""
        redis = self._children.get("redis")
        if redis is None:
            return
        self._start(redis)
        until = time.monotonic() + REDIS_WAIT_S
        while time.monotonic() < until and not (redis.running and redis_server.answers(self._settings)):
            for key, _ in self._selector.select(0.02):
                key.data()
            if redis.running:
                self._look_for_end(redis)
            if self._stopping_since is not None:
                return
            if redis.due:
                self._start(redis)

    def _all(self) -> list[Child]:
        return [*self._children.values(), *self._leavers]

    def _running(self) -> list[Child]:
        return [child for child in self._all() if child.running]

    # --- stopping ---------------------------------------------------------------------------------

    def _stop(self) -> None:
        if self._stopping_since is not None:
            if time.monotonic() - self._stopping_since >= AGAIN_S:
                for child in self._running():
                    child.kill()
            return
        self._stopping_since = time.monotonic()
        self._port.close()  # nobody else gets in once the listeners have closed theirs
        log.info("stopping", meaning="what is being received and examined is finished first")

    def _stop_on(self, since_s: float) -> None:
        """Ask stage after stage to stop; kill what is past its time."""
        before_ended = True
        for roles, ask_s, kill_s in STOP_STAGES:
            running = [child for child in self._running() if child.spec.role in roles]
            for child in running:
                if before_ended or since_s >= ask_s:
                    child.ask()
                if since_s >= kill_s:
                    child.kill()
            before_ended = before_ended and not running

    # --- new settings -----------------------------------------------------------------------------

    def _take_new_settings(self) -> None:
        try:
            settings = self._reload()
            _refuse_moves(self._settings, settings)
            specs = self._plan(settings, snapshot_of(settings.state))
            write_snapshot(settings)  # last: what is refused must not reach a process that starts again
        except (FilmgateError, OSError) as error:
            log.error("new settings refused", why=str(error), meaning="the old ones stay in force")
            return
        except Exception:  # a fault of ours in reading them must not end a gateway that runs
            log.exception(
                "new settings refused", meaning="filmgate failed over them; the old ones stay in force"
            )
            return
        self._settings = settings
        self._taken(settings)
        wanted = {spec.name for spec in specs}
        for name, child in tuple(self._children.items()):
            if name not in wanted:
                child.unwanted = True
                child.ask()
                if not child.running:  # it waits to be started again, and never ends any more
                    self._forget(name)
        rolled = [spec for spec in specs if spec.role in ROLL_ORDER]
        self._roll = deque(sorted(rolled, key=lambda spec: ROLL_ORDER.index(spec.role)))
        log.info("new settings taken", meaning="the processes are replaced one by one, the listeners last")

    def _roll_on(self) -> None:
        """Replace one child after the other, each when the one before is ready."""
        for old in self._leavers:
            new = self._children.get(old.spec.name)  # None: there are fewer of them now
            if new is None or new.ready:
                old.ask()
        if self._rolling is not None:
            new, since = self._rolling
            if not new.ready and time.monotonic() - since < ROLL_WAIT_S:
                return
            self._rolling = None
        if self._roll:
            self._rolling = (self._replace(self._roll.popleft()), time.monotonic())

    def _replace(self, spec: Spec) -> Child:
        """A listener goes when its successor has joined it on the port; the others go first."""
        old = self._children.get(spec.name)
        new = self._child(spec, after=old.after if old and spec.role != "listener" else None)
        self._children[spec.name] = new
        if old is not None and old.running:
            old.unwanted = True
            self._leavers.append(old)
            if spec.role != "listener":
                old.ask()
        return new

    # --- signals ----------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP become events of the selector."""
        ours = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._take_new_settings}
        heard, told = socket.socketpair()
        heard.setblocking(False)
        told.setblocking(False)

        def act() -> None:
            for number in heard.recv(64):
                ours.get(signal.Signals(number), lambda: None)()

        self._selector.register(heard, selectors.EVENT_READ, act)
        before_fd = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, lambda *_: None) for number in ours}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before_fd)
            self._selector.close()
            heard.close()
            told.close()


def write_snapshot(settings: Settings) -> Path:
    """The settings as the children read them: complete, with secrets, for this user's eyes alone.

    Nothing is written where they stand there already: a gateway that is started again on a full disk delivers
    what it owes, and takes films in when there is room.

    Raises:
        SettingsError: the rules cannot be read or used, or the files not be written; those there stay as they
            are.
    """
    path = snapshot_of(settings.state)
    texts = {path: ""}
    if settings.policy.file is not None:  # the rules are copied too: half-edited ones must not be found
        copy = path.with_name("policy.yaml")
        texts = {copy: _policy_text(settings.policy.file), path: ""}
        policy = settings.policy.model_copy(update={"file": copy})
        settings = settings.model_copy(update={"policy": policy})
    texts[path] = json.dumps(settings.model_dump(mode="json", by_alias=True), indent=1)
    try:
        private.make_folder(path.parent)
        drafts = {
            target: _drafted(target, text) for target, text in texts.items() if not _stands(target, text)
        }
        for target, draft in drafts.items():  # all of them are written by now: the disk has room
            draft.replace(target)
    except OSError as error:
        raise SettingsError(
            f"the settings cannot be kept in {path.parent}: {error.strerror}. Films are safe. "
            "Make room there."
        ) from error
    return path


def snapshot_of(state: Path) -> Path:
    """Where the settings lie that the children of a state folder's `up` read."""
    return state / "run" / "settings.json"


def _stands(target: Path, text: str) -> bool:
    with suppress(OSError, UnicodeDecodeError):
        return target.read_text(encoding="utf-8") == text and target.stat().st_mode & 0o777 == 0o600
    return False


def _drafted(target: Path, text: str) -> Path:
    draft = target.with_suffix(".part")
    draft.unlink(missing_ok=True)
    try:
        draft.touch(mode=0o600)
        draft.write_text(text, encoding="utf-8")
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return draft


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Without the settings in it: the children's settings are complete already."""
    return {k: v for k, v in env.items() if not k.startswith(PREFIX) or k == "FILMGATE_CRASH_AT"}


def check_port(host: str, port: int) -> None:
    """Make sure that it could be listened there.

    Raises:
        FilmgateError: taken, not allowed, or no address of this machine.
    """
    _bound(host, port).close()


def open_port(host: str, port: int) -> socket.socket:
    """Listen there, alone: the listeners share this socket, and nobody else shares the port.

    Raises:
        FilmgateError: taken, not allowed, or no address of this machine.
    """
    bound = _bound(host, port)
    try:
        bound.listen(BACKLOG)
    except OSError as error:  # another one was as quick as we
        bound.close()
        raise _no_port(host, port, error) from error
    return bound


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _no_port(host, port, error) from error
    return bound


def _no_port(host: str, port: int, error: OSError) -> FilmgateError:
    return FilmgateError(
        f"port {port} on {host} cannot be had: {error.strerror}. Nothing was started: no film is taken. "
        f"Stop the program that has it (`ss -ltnp 'sport = :{port}'` names it), or choose another port: "
        "gateway.port in filmgate.yaml, or FILMGATE_GATEWAY__PORT."
    )


@contextmanager
def _alone(state: Path) -> Iterator[bool]:
    """Hold the lock of a state folder; make the folder, or make it private, if need be.

    True when whoever held it before did not come to its end.
    """
    if changed := private.claim(state):
        log.warning("state folder", folder=str(state), meaning=changed)
    try:
        lock = private.lock_file(state / "up.lock")
    except OSError as error:
        raise FilmgateError(
            f"the state folder {state} cannot be used: {error.strerror}. Nothing was started. "
            "Choose another with --state, or `state:` in filmgate.yaml."
        ) from error
    with lock:
        killed = _lock(lock, state)
        try:
            yield killed
        finally:
            with suppress(OSError):
                os.ftruncate(lock.fileno(), 0)


def running(settings: Settings) -> str:
    """The process of the `up` that runs with this state folder on this port; "" when there is none."""
    try:
        with plain_files.opened(settings.state / "up.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return ""  # nobody holds it
    except BlockingIOError:
        pass
    except OSError:
        return ""
    try:
        started = json.loads(snapshot_of(settings.state).read_text(encoding="utf-8"))
        same = started["gateway"]["port"] == settings.gateway.port
        pid = (settings.state / "up.lock").read_text(encoding="ascii").strip()
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return pid or "unknown" if same else ""


def _lock(lock: TextIO, state: Path) -> bool:
    """Whether the last holder left its number in it."""
    try:
        _flock(lock)
    except BlockingIOError as error:
        lock.seek(0)
        raise FilmgateError(
            f"another filmgate (process {lock.read().strip() or 'unknown'}) runs on {state}. It goes on, and "
            "nothing was started here. Stop that one first, or give this one another --state and port."
        ) from error
    killed = bool(lock.read(1))
    with suppress(OSError):  # on a full disk nobody can read who we are, and the lock holds all the same
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), b"%d\n" % os.getpid(), 0)
    return killed


def _flock(lock: TextIO) -> None:
    """
    Raises:
        BlockingIOError: an `up` holds it. Somebody who only asks (`running`) shares it for an instant.
    """
    until = time.monotonic() + ASKED_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # refused while an `up` holds it
            fcntl.flock(lock, fcntl.LOCK_UN)
            if time.monotonic() >= until:
                raise
        time.sleep(0.01)


def _refuse_moves(old: Settings, new: Settings) -> None:
    for key, before, after in (
        ("state", old.state, new.state),
        ("ledger.url", old.ledger_url, new.ledger_url),
        ("redis.url", old.redis.url, new.redis.url),
        ("gateway.host", old.gateway.host, new.gateway.host),
        ("gateway.port", old.gateway.port, new.gateway.port),
    ):
        if before != after:
            raise SettingsError(f"{key} cannot change while filmgate runs; stop it and start it again")
