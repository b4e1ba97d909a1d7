"""The console as a process: small, without torch, hard to hold up, and gone when it is asked to go."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_client import PASSWORD, add_person
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from polling import until

from gateway.bootstrap import Shell
from gateway.console import connections, server
from gateway.console.doors import Role, guard
from gateway.errors import FilmgateError, SettingsError
from gateway.settings import ConsoleSettings, Settings
from gateway.settings.console import TlsSettings

MOST_MB = 150


@pytest.fixture
def shell(tmp_path: Path, free_port: int) -> Iterator[Shell]:
    console = ConsoleSettings(port=free_port)
    shell = Shell.open(Settings(state=tmp_path / "state", console=console), migrate_first=True)
    yield shell
    shell.close()


@contextlib.contextmanager
def serving(shell: Shell) -> Iterator[int]:
    """The console in a thread of this process; its port."""
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve, args=(shell,), kwargs={"stop": stop, "ready": ready.set})
    thread.start()
    assert ready.wait(30)
    try:
        yield shell.settings.console.port
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def answer(port: int, path: str = "/sign-in") -> int:
    """The status of a GET."""
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(asking):
        asking.request("GET", path)
        return asking.getresponse().status


def test_who_connects_and_says_nothing_or_little_is_hung_up_on(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of a second request; and a body that does not come ends as well."""
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    monkeypatch.setattr(guard, "PART_S", 0.2)
    with serving(shell) as port:
        with connected(port) as silent:
            assert silent.recv(1) == b""
        with connected(port) as slow, contextlib.suppress(ConnectionError):
            slow.sendall(b"GET /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            assert slow.recv(1) == b""
        with connected(port) as second, contextlib.suppress(ConnectionError):
            second.sendall(b"GET /static/console.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert second.recv(9) == b"HTTP/1.1 "
            second.sendall(b"GET / HTTP/1.1\r\nHost: ")
            while second.recv(1 << 16):
                pass
        with connected(port) as body:
            head = b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
            body.sendall(head + b"Content-Type: application/x-www-form-urlencoded\r\n\r\nname=")
            assert body.recv(12) == b"HTTP/1.1 408"
        assert answer(port) == 200


def test_one_address_has_no_more_connections_than_a_few_browsers(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is over is closed at once, and the others are served."""
    monkeypatch.setattr(connections, "MOST_OF_ONE_ADDRESS", 5)
    with serving(shell) as port, contextlib.ExitStack() as stack:
        many = [stack.enter_context(connected(port)) for _ in range(5)]
        with connected(port) as over, contextlib.suppress(ConnectionError):
            assert over.recv(1) == b""
        for one in many:
            one.close()
        assert until(lambda: not connections._open)
        assert answer(port) == 200


def test_a_gigabyte_is_refused_before_it_is_sent(shell: Shell) -> None:
    """By its length, with nothing read; a head without end likewise."""
    with serving(shell) as port:
        with connected(port) as client:
            client.sendall(b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1073741824\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 413"
        with connected(port) as client, contextlib.suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Long: " + b"x" * (1 << 17))
            assert client.recv(12) == b"HTTP/1.1 400"
        with connected(port) as client:
            head = b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
            second = b"GET /users HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second)
            answers = b""
            with contextlib.suppress(ConnectionError):
                while part := client.recv(1 << 16):
                    answers += part
            assert (answers[:12], answers.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 400", 1)
        assert answer(port) == 200


def test_a_port_that_is_taken_is_said_in_words(shell: Shell) -> None:
    """And what that means for the films: nothing."""
    taken = socket.create_server(("127.0.0.1", shell.settings.console.port))
    with (
        taken,
        pytest.raises(
            FilmgateError, match=r"cannot be had for the console.*Films come in.*without a console\.$"
        ),
    ):
        server.serve(shell, stop=threading.Event())


def test_the_process_is_small_and_goes_when_it_is_asked(shell: Shell) -> None:
    """No torch, no more memory than was promised, also after sign-ins; SIGTERM ends it with 0."""
    add_person(shell, "anna", Role.ADMIN)
    settings = shell.settings
    environment = {
        **os.environ,
        "FILMGATE_CONSOLE__PORT": str(settings.console.port),
        "MALLOC_ARENA_MAX": "2",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "console", "--state", str(settings.state), "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        (item,) = json.loads(process.stdout.readline())
        assert item["text"] == f"console at {settings.console.address}"
        port = settings.console.port
        form = f"name=anna&password={PASSWORD.replace(' ', '+')}"
        for _ in range(5):
            asking = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            with contextlib.closing(asking):
                headers = {"Content-Type": "application/x-www-form-urlencoded"}
                asking.request("POST", "/sign-in", form, headers)
                signed_in = asking.getresponse()
                signed_in.read()
                cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
                asking.request("GET", "/", headers={"Cookie": cookie})
                assert asking.getresponse().status == 200
        status = Path(f"/proc/{process.pid}/status").read_text()
        rss_kb = int(status.partition("VmRSS:")[2].split()[0])  # a sign-in takes 19 MiB for a moment
        assert rss_kb < MOST_MB << 10
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert not any(name in maps for name in ("libtorch", "onnxruntime", "ncnn"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def certificate(folder: Path, *, password: bytes | None = None) -> TlsSettings:
    """One that says localhost, of nobody's CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    at = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(at - day)
        .not_valid_after(at + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "c.pem").write_bytes(made.public_bytes(pem))
    (folder / "k.pem").write_bytes(key.private_bytes(pem, pkcs8, locked))
    return TlsSettings(certificate=folder / "c.pem", key=folder / "k.pem")


def test_by_tls_the_cookies_are_for_tls_alone(shell: Shell, tmp_path: Path) -> None:
    """Secure, and named so that no other host can have set them; old versions of TLS are refused."""
    add_person(shell, "anna", Role.VIEWER)
    console = shell.settings.console.model_copy(update={"tls": certificate(tmp_path)})
    shell = Shell(shell.settings.model_copy(update={"console": console}), shell.ledger, shell.store)
    trusting = ssl.create_default_context(cafile=tmp_path / "c.pem")
    with serving(shell) as port:
        asking = http.client.HTTPSConnection("localhost", port, timeout=20, context=trusting)
        with contextlib.closing(asking):
            form = f"name=anna&password={PASSWORD.replace(' ', '+')}"
            headers = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": f"https://localhost:{port}",
            }
            asking.request("POST", "/sign-in", form, headers)
            cookies = asking.getresponse().headers.get_all("Set-Cookie")
        assert cookies
        assert all(cookie.startswith("__Host-filmgate-") and "; Secure" in cookie for cookie in cookies)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert server.tls_context(console).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_certificate_that_cannot_be_used_is_said_in_words(tmp_path: Path) -> None:
    """Not there, of another key, or with a password that nobody is asked for."""
    for tls in (
        TlsSettings(certificate=tmp_path / "no", key=tmp_path / "no"),
        certificate(tmp_path, password=b"secret"),
    ):
        with pytest.raises(SettingsError, match=r"console\.tls"):
            server.tls_context(ConsoleSettings(tls=tls))


def test_without_a_console_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    """What the listener and the lists load has no web framework in it."""
    code = "import sys, json, gateway.bootstrap, gateway.listener; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"fastapi", "uvicorn", "argon2", "authlib", "jinja2"} & set(json.loads(run.stdout))
