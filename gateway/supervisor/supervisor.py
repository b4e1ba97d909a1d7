"""`filmgate up`: starts, restarts and stops the processes of one machine.

    supervisor ── redis          unless redis.url names another one
               ├─ listener 1..n  gateway.processes of them, on one port
               ├─ dispatcher
               ├─ console       unless console.enabled says no; nothing waits for it
               └─ worker 1..n    work.workers of them; they alone load torch

One thread and one selector: signals, what children write, and their heartbeats all arrive there. A child
whose loop stands still is ended and started again (`process.supervised` is its side of it). The port is the
supervisor's: listeners come and go and share its socket, so that whoever connects finds one. Children run on
a copy of the settings that `up` found valid: a file that is edited meanwhile cannot harm one that is
restarted.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog

from gateway import redis_server
from gateway.errors import FilmgateError, LedgerError, SettingsError
from gateway.ledger import Ledger
from gateway.process.health import HERE
from gateway.process.wake import Wake
from gateway.settings import Settings, read
from gateway.supervisor import fitness, signals
from gateway.supervisor.greeting import ready_text
from gateway.supervisor.lock import alone
from gateway.supervisor.plan import plan
from gateway.supervisor.port import open_port
from gateway.supervisor.processes import Child, Spec, own_code
from gateway.supervisor.snapshot import child_environment, policy_text, snapshot_of, write_snapshot

log = structlog.get_logger()

TICK_S = 0.2  # the end of a process is noticed this late at most
PORT_WAIT_S = 2.0  # for a port that somebody has
DRAIN_WAIT_S = 20.0  # the same after an `up` that was killed: its listeners finish what they receive
REDIS_WAIT_S = 5.0  # the others start without Redis after this; they cope
ROLL_WAIT_S = 60.0  # a replaced child has so long to become ready before the next one's turn
HANG_S = 60.0  # a loop that stands still for so long hangs; time that others keep from it does not count
LEAVE_S = 30.0  # a replaced child has so long to end, of its own time
LOOKS_IN_A_HANG = 60
LEDGER_CALLS = 6  # that one round of a loop may wait for, each for ledger.busy_timeout_s
AGAIN_S = 0.5  # two signals nearer than that are one: timeout(1) sends it to a process, then to its group
# A stop takes 20 s at most. A stage: roles, when they are asked at the latest, when they are killed. They are
# asked as soon as the stages before them have ended. What is being received has 12 s and a little, deliveries
# 10 s and 2 s to break off, a worker has until it is killed.
STOP_STAGES = (
    (("listener",), 0.0, 15.0),
    (("worker", "dispatcher", "console"), 6.0, 19.0),
    (("redis",), 19.0, 19.5),
)
# A worker keeps to one core. In large pages the networks' weights are read a tenth faster, for 2 MB more.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
ROLL_ORDER = ("worker", "dispatcher", "console", "listener")
CONSOLE_WAIT_S = 5.0  # `up` says that it is ready without its console after so long


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
    """The settings, checked as well for what their schema cannot know: see `fitness`.

    What is named and surely not there is refused, as is a file of rules that cannot be used, and a classifier
    that is off. What may be there later is logged.

    Raises:
        SettingsError: one of them cannot be used.
    """
    loaded = read(config, state)
    settings = loaded.settings
    if settings.policy.file is not None:
        policy_text(settings.policy.file)
    troubles = list(fitness.troubles(settings))
    if refused := [trouble for trouble in troubles if trouble.refused]:
        raise SettingsError("\n".join(f"{loaded.origin(one.loc)}: {one.words}" for one in refused))
    for trouble in troubles:
        log.warning("settings", where=loaded.origin(trouble.loc), problem=trouble.words)
    return settings


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
        self._ready_said = False
        self._console_until = 0.0  # monotonic, once all others are ready
        self._ledger: Ledger
        self._port: socket.socket  # open while we are not stopping

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; a second one, but for one at the same moment, kills what is left.

        Raises:
            FilmgateError: nothing was started: another `up` has the state folder, the port is taken, ...
        """
        settings = self._settings
        with (
            self._selector,
            alone(settings.state) as killed,
            signals.heard_by(self._selector, self._actions()),
            self._take_port(killed) as self._port,
        ):
            HERE.keep_in(settings.state, "supervisor")
            specs = self._plan(settings, write_snapshot(settings))
            busy_s = settings.ledger.busy_timeout_s
            self._ledger = Ledger.open(
                settings.ledger_url, busy_timeout_s=busy_s, migrate_first=True, wake=Wake(settings.state)
            )
            try:
                self._children = {spec.name: self._child(spec) for spec in specs}
                self._start_redis()
                while self._stopping_since is None or self._running():
                    self._turn(TICK_S)
            finally:
                for child in self._running():
                    child.kill()
                self._ledger.close()

    def _actions(self) -> dict[signal.Signals, Callable[[], None]]:
        return {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._take_new_settings,
        }

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
        own = WORKER_ENVIRONMENT if child.spec.role == "worker" else {}
        listening = self._port.fileno() if child.spec.role == "listener" else -1
        if child.start(own | child_environment(os.environ) | own_code(os.environ), listening):
            self._selector.register(child.output, selectors.EVENT_READ, partial(self._hear, child))
            self._selector.register(
                child.ready_pipe, selectors.EVENT_READ, partial(self._hear_heartbeat, child)
            )

    def _hear(self, child: Child) -> None:
        if not child.hear(plain=self._settings.log.json_):
            self._selector.unregister(child.output)

    def _hear_heartbeat(self, child: Child) -> None:
        pipe = child.ready_pipe
        if not child.hear_heartbeat():
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
        if self._ready_said or not {"listener", "dispatcher", "worker"} <= roles:
            return
        self._console_until = self._console_until or time.monotonic() + CONSOLE_WAIT_S
        if "console" in self._children and "console" not in roles and time.monotonic() < self._console_until:
            return
        self._ready_said = True
        workers = sum(child.spec.role == "worker" for child in self._children.values())
        shut = fitness.closed(self._settings)
        self._say(ready_text(self._settings, workers, shut, console_ready="console" in roles))
        for what in shut:
            log.warning("closed", what=what, meaning="films for it are held or wait; see `filmgate doctor`")

    def _take_port(self, killed: bool) -> socket.socket:
        """Wait a little for the port; longer when the last `up` was killed: its listeners may have it."""
        until = time.monotonic() + (max(DRAIN_WAIT_S, PORT_WAIT_S) if killed else PORT_WAIT_S)
        gateway, wait_logged = self._settings.gateway, not killed
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
            if not wait_logged:
                wait_logged = True
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
            waits = not new.ready and new.spec.role != "console"  # whose port another program may have
            if waits and time.monotonic() - since < ROLL_WAIT_S:
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
