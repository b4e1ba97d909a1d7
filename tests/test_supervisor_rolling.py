"""New settings while it runs, and processes that hang."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from busy import busy, starve
from dicom_peers import RawPeer, SlowSender, echo
from supervisor_stand_ins import (
    ROLES,
    WAIT_S,
    Events,
    await_another,
    children,
    events,
    impatient,
    no_waits,
    real,
    settings,
    stand_ins,
    supervise,
)

from gateway.errors import SettingsError
from gateway.process.health import HERE
from gateway.settings import (
    LogSettings,
    Settings,
)
from gateway.supervisor import supervisor
from gateway.supervisor.processes import Silence, Spec

__all__ = ["events", "no_waits", "settings"]


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
    """Until these, and no other process, are in trouble; this process's threads may have their own."""
    until = time.monotonic() + WAIT_S
    while tuple(one.what for one in HERE.troubles() if one.what.startswith("process ")) != names:
        assert time.monotonic() < until, HERE.troubles()
        time.sleep(0.01)


def test_a_console_that_cannot_start_does_not_keep_new_settings_from_the_listener(
    settings: Settings, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program has its port, say; the other processes are replaced without waiting for it."""
    monkeypatch.setattr(supervisor, "ROLL_WAIT_S", 10 * WAIT_S)
    monkeypatch.setattr(supervisor, "CONSOLE_WAIT_S", 0.0)
    whole = stand_ins(events)

    def specs(settings: Settings, path: Path) -> list[Spec]:
        return [*whole(settings, path), Spec("console", 1, ("false",))]

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=WAIT_S)
        events.next("listener 1 started")
        os.kill(os.getpid(), signal.SIGHUP)
        events.next("listener 1 started")

    supervise(settings, act, specs, reload=lambda: settings)


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
