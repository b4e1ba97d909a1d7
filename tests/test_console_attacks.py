"""Whoever wants more of the console than they may have, and what comes when ledger or disk give out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest
from console_client import signed_in, stranger
from console_films import judged, received
from dicom_files import dx, part10, ramp
from disks import small_disk
from pydicom import dcmread
from test_console_doors import routes
from test_full_disk import fill

from gateway.bootstrap import Shell
from gateway.console.app import create_app
from gateway.console.doors import Role
from gateway.ledger.acting.auditing import Audited
from gateway.settings import Settings

PAGE = {"Accept": "text/html"}
MODE = {"ae_title": "A", "mode": "observe"}

# What changes something, or shows who a patient is, by the least role that may. What stands here for viewers
# changes nothing of films, or is one's own.
FOR_VIEWERS = {
    ("POST", "/sign-out"),
    ("POST", "/password"),
    ("POST", "/api/quarantine/look"),
    ("POST", "/api/policy/check"),
    ("POST", "/policy/tries"),
}
FOR_REVIEWERS = {
    ("POST", "/api/acts"),
    ("POST", "/api/reveal"),
    ("POST", "/films/1/header"),
    ("POST", "/api/uploads"),
    ("PUT", "/api/uploads/1"),
    ("DELETE", "/api/uploads"),
    ("DELETE", "/api/uploads/1"),
    ("POST", "/api/uploads/1/again"),
    ("POST", "/api/blind/1"),
    ("POST", "/api/blind/1/later"),
    ("POST", "/api/blind/1/undo"),
    ("POST", "/destinations/test"),
    ("POST", "/destinations/again"),
}
FOR_ADMINS = {
    ("POST", "/users"),
    ("POST", "/users/1/role"),
    ("POST", "/users/1/acts"),
    ("POST", "/policy"),
    ("POST", "/policy/revert"),
    ("POST", "/policy/bypass"),
    ("POST", "/policy/bypass/end"),
    ("POST", "/destinations/flow"),
    ("POST", "/senders/allow"),
    ("POST", "/senders/disallow"),
    ("POST", "/senders/mode"),
}


def opened(state: Path) -> Shell:
    return Shell.open(
        Settings.model_validate({"state": state, "store": {"min_free_mb": 0}}), migrate_first=True
    )


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    one = opened(tmp_path / "state")
    yield one
    one.close()


def test_every_route_that_changes_something_has_the_role_that_is_named_here(shell: Shell) -> None:
    """Whoever adds a route says here for whom it is; nobody below gets further than the refusal."""
    unsafe = {
        (method, path) for path, methods in routes() for method in methods if method not in ("GET", "HEAD")
    }
    assert unsafe == FOR_VIEWERS | FOR_REVIEWERS | FOR_ADMINS
    with signed_in(shell, Role.VIEWER) as viewer, signed_in(shell, Role.REVIEWER) as reviewer:
        for method, path in FOR_REVIEWERS | FOR_ADMINS:
            assert viewer.request(method, path, json={}).status_code == 403, (method, path)
        for method, path in FOR_ADMINS:
            assert reviewer.request(method, path, json={}).status_code == 403, (method, path)


def test_who_may_not_see_a_patient_is_not_shown_the_button(shell: Shell, tmp_path: Path) -> None:
    """Masked is masked, in the list and in the tags of the film."""
    film = dx(ramp(40, 30))
    film.PatientID = "CANARY-4711"
    received(shell, dcmread(BytesIO(part10(film))), tmp_path)
    judged(shell)
    for role, shown in ((Role.VIEWER, False), (Role.REVIEWER, True)):
        with signed_in(shell, role) as client:
            part = client.get("/films/1/header").text
            assert "711" in part
            assert "CANARY" not in part
            assert (">Show</button>" in part) is shown
            revealed = client.post("/films/1/header")
            assert (revealed.status_code == 200, "CANARY-4711" in revealed.text) == (shown, shown)
    rows = shell.ledger.audit(Audited(), limit=9)
    assert [row.who for row in rows if row.film == 1] == ["reviewer"]


@pytest.mark.parametrize("address", ["//[", "/[", "//\N{ACCOUNT OF}.example", "http://[::1"])
def test_an_address_that_is_none_is_no_mistake_of_ours(shell: Shell, address: str) -> None:
    """Neither where to go after the sign-in, nor where a form says that it comes from."""
    client = stranger(shell)
    assert client.get("/sign-in", params={"next": address}).status_code == 200
    origin = {"Origin": f"http:{address}".encode()}
    assert client.post("/sign-in", data={"name": "x"}, headers=origin).status_code == 403


@pytest.mark.parametrize("query", ["since=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00"])
def test_a_time_outside_of_the_calendar_is_refused(shell: Shell, query: str) -> None:
    with signed_in(shell, Role.VIEWER) as client:
        for path in ("/films", "/films.csv", "/api/films"):
            assert client.get(f"{path}?{query}").status_code == 422


def test_a_film_without_a_picture_costs_no_memory_each_time(shell: Shell, tmp_path: Path) -> None:
    """What is remembered of it is words: an error that is raised again holds on to each who asked."""
    path = tmp_path / "broken.dcm"
    film = dcmread(BytesIO(part10(dx(ramp(40, 30)))))
    film.PixelData = b"\0\0"
    digest = received(shell, film, path.parent)
    with signed_in(shell, Role.VIEWER) as client:
        said = {client.get(f"/pictures/{digest}/pixels").json()["detail"] for _ in range(3)}
        (kept,) = client.app.state.pictures._without.values()  # type: ignore[attr-defined]
    assert said == {kept}
    assert isinstance(kept, str)


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    """Lists are shown as before, what would have to be written is refused; with room again it goes on."""
    named = {"name": "a.dcm", "size": 10, "sha256": "a" * 64}
    with small_disk(tmp_path / "disk", "8m") as disk:
        shell = opened(disk / "state")
        with signed_in(shell, Role.ADMIN) as client:
            client.post("/api/uploads", json={"files": [named]})
            filler = fill(disk)
            asked = {
                "a piece": client.put(f"/api/uploads/{'a' * 64}?offset=0", content=b"0123456789"),
                "a person": client.post("/users", data={"name": "x", "role": "viewer"}, headers=PAGE),
                "a mode": client.post("/senders/mode", data=MODE, headers=PAGE),
                "a sign-in": stranger(shell).post("/sign-in", data={"name": "x"}, headers=PAGE),
            }
            announced = client.post("/api/uploads", json={"files": [named | {"sha256": "b" * 64}]}).json()
            assert announced["uploads"][0]["state"] == "refused"
            for what, answer in asked.items():
                assert answer.status_code in (503, 507), (what, answer.status_code)
                assert "mistake" not in answer.text, what
            for path in ("/", "/films", "/quarantine", "/audit", "/upload", "/policy", "/users"):
                assert client.get(path, headers=PAGE).status_code == 200, path
            filler.unlink()
            assert client.post("/api/uploads", json={"files": [named]}).status_code == 200
            assert client.post("/senders/mode", data=MODE).status_code == 200
        shell.close()


def test_whether_it_lives_is_said_while_every_thread_waits(shell: Shell) -> None:
    """Else who watches would end a console that only waits for the ledger."""

    async def asked() -> int:
        threads, over = anyio.to_thread.current_default_thread_limiter(), threading.Event()
        threads.total_tokens = 1
        transport = httpx2.ASGITransport(create_app(shell))
        async with (
            httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
            anyio.create_task_group() as waiting,
        ):
            waiting.start_soon(anyio.to_thread.run_sync, over.wait, 30)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(20):
                status = (await client.get("/livez")).status_code
            over.set()
        return status

    assert anyio.run(asked) == 200
