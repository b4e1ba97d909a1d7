"""Word of alarms through a real mail server and a real web server, over failures and a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from alarm_films import TURNED, Site
from PIL import Image
from typer.testing import CliRunner
from web_peer import TOKEN, Web, web

from gateway.alarms import Telling
from gateway.alarms.mail import Mail
from gateway.alarms.telling import MOST_TRIES, makers
from gateway.cli import app
from gateway.errors import DeliveryError
from gateway.ledger.watching.records import AlarmKind, Notice, Signal
from gateway.process.health import Health
from gateway.settings import Settings
from gateway.store.thumbs import Thumbs

__all__ = ["web"]

ROOT = Path(__file__).parent.parent
NEVER = threading.Event()


class Post:
    """A mail server's handler: keeps what it took, and answers what it is told to."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.answers: list[str] = []  # to the next mails; then 250
        self.kills: list[int] = []  # the process that sends the next mail, once that was taken
        self.taken = threading.Event()

    async def handle_DATA(  # noqa: N802  aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        if self.kills:
            os.kill(self.kills.pop(), signal.SIGKILL)
        self.taken.set()
        return "250 taken"


@pytest.fixture
def post(free_port: int) -> Iterator[tuple[Post, int]]:
    handler = Post()
    controller = Controller(
        handler, hostname="127.0.0.1", port=free_port, auth_require_tls=False, authenticator=known
    )
    controller.start()
    yield handler, free_port
    controller.stop()


def known(server: Any, session: Any, envelope: Any, mechanism: str, login: Any) -> AuthResult:
    right = (login.login, login.password) == (b"gate", b"s3cret")
    return AuthResult(success=right, handled=False)  # the server answers 535 by itself


def mail_to(port: int, **more: Any) -> dict[str, Any]:
    fixed = {"server": "127.0.0.1", "port": port, "tls": "none", "from": "filmgate@hospital.example"}
    return fixed | {"to": ["it@hospital.example", "duty@hospital.example"]} | more


def telling(site: Site) -> Telling:
    return Telling(site.ledger, makers(site.settings, site.ledger), site.clock, Health())


def waits(site: Site) -> None:
    """One alarm that is on."""
    signal_ = Signal(AlarmKind.WAITING, "quarantine", "2 films have waited.", "/quarantine")
    site.ledger.set_alarms([signal_], [AlarmKind.WAITING], ("webhook", "mail"), site.now)


def over(site: Site) -> None:
    site.ledger.set_alarms([], [AlarmKind.WAITING], ("webhook", "mail"), site.now)


def test_an_alarm_and_its_end_are_told_both_ways_once(
    tmp_path: Path, web: Web, post: tuple[Post, int]
) -> None:
    """However often it is looked; with the console's address, and with nothing that names a film."""
    handler, port = post
    alarms = {"webhook": {"url": web.url, "token": TOKEN}, "mail": mail_to(port)}
    site = Site(tmp_path, alarms=alarms, console={"url": "https://filmgate.hospital.example/"})
    waits(site)
    for _ in range(3):
        telling(site).look(NEVER)
    over(site)
    for _ in range(3):
        telling(site).look(NEVER)
    told = [json.loads(body) for body in web.bodies]
    assert [(one["news"], one["words"]) for one in told] == [
        ("on", "2 films have waited."),
        ("over", "2 films have waited."),
    ]
    assert told[0]["url"] == "https://filmgate.hospital.example/quarantine"
    assert web.headers[0]["authorization"] == f"Bearer {TOKEN}"
    assert len({headers["idempotency-key"] for headers in web.headers}) == 2
    assert [mail["Subject"] for mail in handler.mails] == [
        "filmgate alarm: 2 films have waited.",
        "filmgate over: 2 films have waited.",
    ]
    assert handler.mails[0]["To"] == "it@hospital.example, duty@hospital.example"
    assert "https://filmgate.hospital.example/quarantine" in str(handler.mails[0].get_payload())
    assert len({mail["Message-ID"] for mail in handler.mails}) == 2


def test_what_is_not_taken_is_tried_again_later_each_time(tmp_path: Path, post: tuple[Post, int]) -> None:
    """Its failure is seen by `doctor` meanwhile, and forgotten when it works."""
    handler, port = post
    handler.answers = ["451 later", "550 not today"]
    site = Site(tmp_path, alarms={"mail": mail_to(port)})
    site.ledger.set_alarms([SIGNAL], [AlarmKind.DISK], ("mail",), site.now)
    health = Health()
    sends = Telling(site.ledger, makers(site.settings, site.ledger), site.clock, health)
    sends.look(NEVER)
    assert [trouble.error for trouble in health.troubles()] == ["the mail server answers 451"]
    assert site.ledger.notices_in_trouble() == [("mail", 1, "the mail server answers 451")]
    sends.look(NEVER)
    assert handler.answers == ["550 not today"]  # its time has not come
    site.now += timedelta(seconds=16)
    sends.look(NEVER)
    site.now += timedelta(seconds=16)
    sends.look(NEVER)
    assert handler.mails == []
    site.now += timedelta(seconds=15)
    sends.look(NEVER)
    assert len(handler.mails) == 1
    assert health.troubles() == ()
    assert site.ledger.notices_in_trouble() == []


SIGNAL = Signal(AlarmKind.DISK, "state folder", "Little room.", "/")


def test_a_way_that_never_works_is_given_up_and_holds_up_no_other(
    tmp_path: Path, web: Web, free_port: int
) -> None:
    """After a day of tries; the other way has long told."""
    site = Site(tmp_path, alarms={"webhook": {"url": web.url}, "mail": mail_to(free_port)})
    site.ledger.set_alarms([SIGNAL], [AlarmKind.DISK], ("mail", "webhook"), site.now)
    sends = telling(site)
    for _ in range(MOST_TRIES + 2):
        sends.look(NEVER)
        site.now += timedelta(hours=1)
    states = {one["way"]: (one["state"], one["attempts"]) for one in site.ledger.notices_of(1)}
    assert states == {"mail": ("failed", MOST_TRIES), "webhook": ("sent", 1)}
    assert len(web.bodies) == 1


def test_two_who_tell_at_once_tell_once(tmp_path: Path, web: Web) -> None:
    """The dispatcher and a command: who claims a notice first sends it."""
    site = Site(tmp_path, alarms={"webhook": {"url": web.url}})
    for number in range(8):
        site.ledger.test_alarm(SIGNAL, ("webhook",), f"ann{number}", site.now)
    threads = [threading.Thread(target=telling(site).look, args=(NEVER,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(web.bodies) == 8


SENDS = """
import sys
from datetime import datetime
from pathlib import Path
from threading import Event
from gateway.alarms import Telling
from gateway.alarms.telling import makers
from gateway.ledger import Ledger
from gateway.settings import load
settings = load(Path(sys.argv[1]))
ledger = Ledger.open(settings.ledger_url)
print("ready", flush=True)
sys.stdin.readline()
now = datetime.fromisoformat(sys.argv[2])
Telling(ledger, makers(settings, ledger), lambda: now).look(Event())
"""


def test_a_kill_in_the_midst_of_a_mail_costs_a_double_of_the_same_name(
    tmp_path: Path, post: tuple[Post, int]
) -> None:
    """Killed between the server's taking and our commit, the one moment in which nobody can know: it is sent
    once more, by the same Message-ID, and after that never again."""
    handler, port = post
    site = Site(tmp_path, alarms={"mail": mail_to(port)})
    site.ledger.set_alarms([SIGNAL], [AlarmKind.DISK], ("mail",), site.now)
    file = tmp_path / "filmgate.yaml"
    file.write_text(f"state: {site.settings.state}\nalarms: {{mail: {json.dumps(mail_to(port))}}}\n")
    command = [sys.executable, "-c", SENDS, str(file), site.now.isoformat()]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        handler.kills = [child.pid]
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.wait(30) == -signal.SIGKILL
    telling(site).look(NEVER)
    assert len(handler.mails) == 1  # still claimed by the one that died
    for _ in range(3):
        site.now += timedelta(seconds=301)
        telling(site).look(NEVER)
    assert len(handler.mails) == 2
    assert len({mail["Message-ID"] for mail in handler.mails}) == 1


def test_a_restart_before_a_word_was_said_says_it_once(tmp_path: Path, web: Web) -> None:
    """The alarm and that it is owed are one commit."""
    site = Site(tmp_path, alarms={"webhook": {"url": web.url}})
    site.ledger.set_alarms([SIGNAL], [AlarmKind.DISK], ("webhook",), site.now)
    site.ledger.close()
    again = Site(tmp_path, alarms={"webhook": {"url": web.url}})
    again.ledger.set_alarms([SIGNAL], [AlarmKind.DISK], ("webhook",), again.now)
    telling(again).look(NEVER)
    telling(again).look(NEVER)
    assert len(web.bodies) == 1


def test_a_mail_shows_a_film_too_small_to_read(tmp_path: Path, post: tuple[Post, int]) -> None:
    """Of the room that it is about; without what stood in the picture's own header, and once."""
    handler, port = post
    site = Site(tmp_path, alarms={"mail": mail_to(port)})
    site.send("ROOM3", replace(TURNED, hold=True), films=2)
    comment = BytesIO()
    Image.new("L", (400, 320), 128).save(comment, "JPEG", comment=b"CANARY^NAME")
    Thumbs(site.settings.state).put(f"{2:064x}", comment.getvalue())
    signal_ = Signal(AlarmKind.RATE, "ROOM3", "ROOM3: turned.", "/films", "turned")
    site.ledger.set_alarms([signal_], [AlarmKind.RATE], ("mail",), site.now)
    telling(site).look(NEVER)
    site.ledger.set_alarms([], [AlarmKind.RATE], ("mail",), site.now)
    telling(site).look(NEVER)
    on, over_ = handler.mails
    (attached,) = [part for part in on.walk() if part.get_content_type() == "image/jpeg"]
    jpeg = attached.get_payload(decode=True)
    assert isinstance(jpeg, bytes)
    assert b"CANARY" not in jpeg
    with Image.open(BytesIO(jpeg)) as image:
        assert image.size == (96, 77)
    assert not over_.is_multipart()
    unwanted = Settings(alarms={"mail": mail_to(port, thumbnail=False)})
    assert not Mail(unwanted, lambda alarm: jpeg).message(first_notice(site)).is_multipart()


def first_notice(site: Site) -> Notice:
    return Notice(1, site.ledger.alarms()[0], "on", "mail", 0)


def test_a_password_is_sent_and_a_wrong_one_said(tmp_path: Path, post: tuple[Post, int]) -> None:
    handler, port = post
    site = Site(tmp_path)
    right = Settings(alarms={"mail": mail_to(port, user="gate", password="s3cret")})
    wrong = Settings(alarms={"mail": mail_to(port, user="gate", password="other")})
    site.ledger.test_alarm(SIGNAL, ("mail",), "ann", site.now)
    (notice,) = site.ledger.notices_due(site.now)
    with pytest.raises(DeliveryError, match="answers 535"):
        Mail(wrong).send(notice)
    Mail(right).send(notice)
    assert "This is a test" in str(handler.mails[0].get_payload())


def test_the_command_tests_every_way(tmp_path: Path, web: Web, free_port: int) -> None:
    """Exit code 1 when one was not taken, and nothing is left to be sent later."""
    site = Site(tmp_path)
    file = tmp_path / "filmgate.yaml"
    file.write_text(f"state: {site.settings.state}\nalarms: {{webhook: {{url: '{web.url}'}}}}\n")
    asked = CliRunner().invoke(app, ["alarms", "test", "--by", "ann", "--config", str(file)])
    assert (asked.exit_code, asked.stdout) == (0, "webhook: taken\n"), asked.output
    file.write_text(f"state: {site.settings.state}\nalarms: {{mail: {json.dumps(mail_to(free_port))}}}\n")
    asked = CliRunner().invoke(app, ["alarms", "test", "--json", "--by", "ann", "--config", str(file)])
    assert asked.exit_code == 1
    (told,) = json.loads(asked.stdout)[0]["notices"]
    assert told["error"].startswith("no connection to the mail server")
    listed = CliRunner().invoke(app, ["alarms", "list", "--all", "--json", "--config", str(file)])
    assert [one["kind"] for one in json.loads(listed.stdout)] == ["test", "test"]


def test_the_command_without_a_way_says_what_to_do(tmp_path: Path) -> None:
    Site(tmp_path)
    asked = CliRunner().invoke(app, ["alarms", "test", "--state", str(tmp_path / "state")])
    assert "alarms.webhook.url" in str(asked.exception)


@pytest.mark.parametrize(
    ("mail", "words"),
    [
        ({"server": "mail.example"}, "needs `from` and `to`"),
        (mail_to(25) | {"from": "not an address"}, "must be a mail address"),
        (mail_to(25) | {"server": "mail.example", "user": "gate"}, "without TLS"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(mail: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Settings(alarms={"mail": mail})
