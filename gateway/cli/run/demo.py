"""`filmgate demo` (`make run`): the gateway on this machine with synthetic films pushed through it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydicom.dataset import Dataset

from gateway.bootstrap import now
from gateway.cli.options import Common
from gateway.cli.output import print_json, say
from gateway.cli.review.film_text import decision_text, deliveries_text
from gateway.cli.tables import print_table
from gateway.destinations import scu
from gateway.errors import FilmgateError
from gateway.ledger import Ledger
from gateway.ledger.people import passwords
from gateway.ledger.people.records import Role
from gateway.ledger.records import FilmRow, Hold
from gateway.process import private
from gateway.settings import Settings, load
from gateway.supervisor.processes import own_code, tie_to_parent
from pipelines.lab.films.phantom_dx import phantom_dx

START_WAIT_S = 180.0  # the first start reads torch from a cold disk
DECIDE_WAIT_S = 120.0
LOOK_S = 0.3
DEMO_NAME, MADE_BY = "demo", "filmgate demo"

CONFIG = """\
# Written by `filmgate demo`: two folders stand in for the archive and for the chest AI.
destinations:
  archive:  {kind: folder, path: archive}
  chest-ai: {kind: folder, path: chest-ai}
routes: {always: [archive], pass: [chest-ai]}
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """A synthetic film, and what is wrong with it; the header of each claims a PA chest unless `honest`."""

    what: str
    kind: str = "frontal"
    turn: int = 0
    inverted: bool = False
    honest: bool = False
    monochrome1: bool = False
    age: str = "050Y"


SAMPLES = (
    Sample("chest, upright"),
    Sample("chest, upright, honestly MONOCHROME1", inverted=True, monochrome1=True),
    Sample("chest, turned 90 degrees", turn=90),
    Sample("chest, upside down", turn=180),
    Sample("chest, turned 270 degrees", turn=270),
    Sample("chest, black and white exchanged", inverted=True),
    Sample("chest of a child of 3", age="003Y"),
    Sample("lateral chest, header says PA", kind="lateral"),
    Sample("hand, header says CHEST", kind="hand"),
    Sample("hand, header says HAND", kind="hand", honest=True),
)

Once = Annotated[bool, typer.Option("--once", help="End when the verdicts are shown.")]


def demo(common: Common, once: Once = False) -> None:
    """Run the gateway here, push synthetic films through it by C-STORE, show the verdicts; stays up."""
    folder = load(common.config, common.state).state / "demo"
    private.claim(folder.parent)
    folder.mkdir(private.FOLDER_MODE, exist_ok=True)
    config = common.config or _config(folder)
    settings = load(config, common.state or folder.parent)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tell = _say_nothing if common.json else say
    tell(f"starting the gateway (its log: {folder / 'up.log'})")
    with _gateway(settings, config, folder / "up.log", tell) as gateway:
        who = None if once or common.json else demo_person(settings)
        verdicts = _pushed(settings, folder / "films", tell)
        _show(verdicts, common)
        if not once:
            _explain(settings, config, tell)
            _show_console(settings, who, tell)
            gateway.wait()


def _say_nothing(_: str) -> None:
    """For programs, who get the verdicts alone."""


def _config(folder: Path) -> Path:
    """Settings with two folders in the places of archive and AI."""
    for name in ("archive", "chest-ai"):
        (folder / name).mkdir(exist_ok=True)
    config = folder / "filmgate.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    return config


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a sample."""

    sample: Sample
    film: FilmRow
    hold: Hold | None

    @property
    def whereabouts(self) -> str:
        """Where it is now."""
        text = deliveries_text(self.film)
        if self.hold is None:
            return text
        return f"{text}; held" + (", corrected copy ready" if self.hold.proposal else "")

    def item(self) -> dict[str, object]:
        """The same for programs."""
        film = self.film
        return {
            "sent": self.sample.what,
            "film_id": film.film_id,
            "sop_instance_uid": film.sop_instance_uid,
            "decision": film.decision,
            "reasons": film.reasons,
            "where": self.whereabouts,
        }


def _pushed(settings: Settings, folder: Path, tell: Callable[[str], None]) -> list[Verdict]:
    uids = _send(settings, folder, tell)
    ledger = Ledger.open(settings.ledger_url)
    try:
        rows = _await_decisions(ledger, uids)
        held = {hold.film_id: hold for hold in ledger.holds()}
    finally:
        ledger.close()
    return [Verdict(sample, row, held.get(row.film_id)) for sample, row in zip(SAMPLES, rows, strict=True)]


def _show(verdicts: list[Verdict], common: Common) -> None:
    """
    Raises:
        FilmgateError: a film was not decided in time.
    """
    if common.json:
        print_json(verdict.item() for verdict in verdicts)
    else:
        rows = (
            (
                one.sample.what,
                decision_text(one.film.decision),
                ", ".join(one.film.reasons) or one.film.why or "",
                one.whereabouts,
            )
            for one in verdicts
        )
        print_table(("film that was sent", "decision", "reasons", "where it is now"), rows)
    if any(one.film.decision is None for one in verdicts):
        raise FilmgateError("not every film was decided in time. None is lost: see `filmgate films list`.")


def _send(settings: Settings, folder: Path, tell: Callable[[str], None]) -> list[str]:
    folder.mkdir(exist_ok=True)
    salt = str(time.time_ns())  # another run sends other films
    films = [_film(sample, number, salt) for number, sample in enumerate(SAMPLES)]
    paths = []
    for number, film in enumerate(films):
        paths.append(folder / f"{number:02}.dcm")
        film.save_as(paths[-1], enforce_file_format=True)
    gateway = settings.gateway
    results = list(scu.send(paths, gateway.host, gateway.port, gateway.ae_title, calling="DEMO"))
    for result in results:
        if not result.ok:
            raise FilmgateError(f"a film was not accepted: {result.text}. See the log of the gateway.")
    tell(f"{len(paths)} synthetic films (phantoms, no patients) sent by C-STORE, all answered 0x0000")
    return [str(film.SOPInstanceUID) for film in films]


def _film(sample: Sample, seed: int, salt: str) -> Dataset:
    dataset = phantom_dx(
        sample.kind,
        seed,
        turn=sample.turn,
        inverted=sample.inverted,
        age=sample.age,
        honest=sample.honest,
        salt=salt,
    )
    if sample.monochrome1:
        dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
        dataset.PixelIntensityRelationshipSign = 1
    return dataset


def _await_decisions(ledger: Ledger, uids: Sequence[str]) -> list[FilmRow]:
    until = time.monotonic() + DECIDE_WAIT_S
    while True:
        rows = [ledger.film(uid) for uid in uids]
        if all(map(_settled, rows)) or time.monotonic() >= until:
            return rows
        time.sleep(LOOK_S)


def _settled(row: FilmRow) -> bool:
    moving = {"pending", "sending"}
    return row.decision is not None and not any(d["state"] in moving for d in row.deliveries)


@contextmanager
def _gateway(
    settings: Settings, config: Path, log: Path, tell: Callable[[str], None]
) -> Iterator[subprocess.Popen[str]]:
    """`filmgate up` as a child, ready; Ctrl-C reaches it through us."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "gateway.cli",
        "up",
        "--config",
        str(config),
        "--state",
        str(settings.state),
    ]
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **own_code(os.environ)},
            start_new_session=True,
            preexec_fn=partial(tie_to_parent, os.getpid()),  # noqa: PLW1509  we have one thread
        )
    try:
        tell(_await_ready(process, log))
        yield process
    except KeyboardInterrupt:
        tell("stopping")
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _await_ready(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    if select.select([process.stdout], [], [], START_WAIT_S)[0]:
        line = process.stdout.readline().strip()
        if line:
            return line
    lines = log.read_text(encoding="utf-8").strip().splitlines()
    errors = [line.removeprefix("filmgate: ") for line in lines if line.startswith("filmgate: ")]
    raise FilmgateError("\n".join(errors or ["the gateway did not start.", *lines[-10:]]))


def demo_person(settings: Settings) -> str | None:
    """The password of an admin called `demo`, random each time; None where others can let people in.

    A state folder that already has an admin is somebody's own, and gets no way in that they do not know of.
    """
    password, at = passwords.made_up(), now()
    ledger = Ledger.open(settings.ledger_url)
    try:
        if ledger.credentials(DEMO_NAME) is not None and ledger.user(DEMO_NAME).made_by == MADE_BY:
            ledger.set_password(DEMO_NAME, passwords.hashed(password), by=MADE_BY, now=at, must_change=False)
        elif ledger.has_admin():
            return None
        else:
            ledger.add_user(
                DEMO_NAME, Role.ADMIN, by=MADE_BY, now=at, password_hash=passwords.hashed(password)
            )
    finally:
        ledger.close()
    return password


def _show_console(settings: Settings, password: str | None, tell: Callable[[str], None]) -> None:
    """Last, where the eye falls."""
    if settings.console.enabled:
        who = f"  sign in as {DEMO_NAME} / {password}" if password else ""
        tell(f"console: {settings.console.address}{who}")


def _explain(settings: Settings, config: Path, tell: Callable[[str], None]) -> None:
    gateway = settings.gateway
    where = f"--config {config} --state {settings.state}"
    tell(f"the gateway stays up; Ctrl-C ends it. In another terminal, with {where}:")
    tell("  filmgate quarantine list       the films that wait for a person, and why")
    tell("  filmgate quarantine correct N  send the corrected copy of film N to the AI")
    tell("  filmgate films show N          what each gate found, which rule fired")
    tell(f"  filmgate send FOLDER --to {gateway.ae_title}@{gateway.host}:{gateway.port}   your own films")
