"""Sign in and out, and one's own password."""

from __future__ import annotations

import math
import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.bootstrap import Shell, now
from gateway.console.doors import Things, Viewer, cookies
from gateway.console.doors.visit import Visit
from gateway.console.doors.who import cookie_of, lifetimes
from gateway.console.rendering import bare_page, page
from gateway.ledger.people import backoff, passwords
from gateway.ledger.people.backoff import Source
from gateway.ledger.people.records import User
from gateway.ledger.people.signing_in import Tokens, digest

router = APIRouter(include_in_schema=False)

WRONG = "Name or password is wrong. Nobody is told which."
_LONGEST_NEXT = 2000
Text = Annotated[str, Form(max_length=256)]


@router.get("/sign-in")
def sign_in_page(request: Request, shell: Things, next: str = "/") -> HTMLResponse:  # noqa: A002
    return _page(request, shell, next)


@router.post("/sign-in")
def sign_in(
    request: Request,
    shell: Things,
    name: Text = "",
    password: Text = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002
) -> Response:
    """A session, or the same page with words: first whether it must wait, then whether the password fits."""
    visit: Visit = request.state.visit
    name, at = name.strip(), now()
    device = _device(request, shell)
    known = bool(device) and shell.ledger.device_knows(digest(device), name, now=at)
    sources = backoff.sources(name, visit.address, digest(device) if known else "")
    if wait_s := shell.ledger.begin_try(sources, now=at):
        seconds = math.ceil(wait_s)
        words = f"There were too many wrong passwords. Try again in {seconds} s."
        return _page(
            request, shell, next, name=name, words=words, status=429, headers={"Retry-After": str(seconds)}
        )
    credentials = shell.ledger.credentials(name)
    try:
        fits = passwords.fits(password, credentials.password_hash if credentials else None)
    except passwords.TooManyAtOnce as error:
        return _page(
            request, shell, next, name=name, words=str(error), status=503, headers={"Retry-After": "3"}
        )
    if credentials is None or not fits or credentials.user.disabled:
        shell.ledger.failed(credentials.user.name if credentials else "", visit.address, now=at)
        return _page(request, shell, next, name=name, words=WRONG, status=401)
    user = credentials.user
    to = "/password" if user.must_change else safe_next(next)
    return signed_in(request, shell, user, to, how="password", sources=sources)


@router.post("/sign-out")
def sign_out(request: Request, person: Viewer, shell: Things) -> Response:
    visit: Visit = request.state.visit
    if person.session:
        shell.ledger.sign_out(person.session, by=person.name, now=now())
    response = RedirectResponse("/sign-in", 303, {"Clear-Site-Data": '"cache"'})
    cookies.drop(response, cookies.session_name(visit, shell.settings.console), visit)
    return response


@router.get("/password")
def account(request: Request, person: Viewer, shell: Things) -> HTMLResponse:
    return _account(request, person, shell)


@router.post("/password")
def change_password(
    request: Request,
    person: Viewer,
    shell: Things,
    now_: Annotated[str, Form(alias="now", max_length=256)],
    new: Text,
    again: Text,
) -> HTMLResponse:
    """One's own password; whoever found an open page has to know the old one."""
    credentials, at = shell.ledger.credentials(person.name), now()
    if credentials is None or not person.session:
        return _account(request, person, shell, "You sign in elsewhere.", status=409)
    source = (backoff.of_name(person.name),)
    if wait_s := shell.ledger.begin_try(source, now=at):
        words = f"There were too many wrong passwords. Try again in {math.ceil(wait_s)} s."
        return _account(request, person, shell, words, status=429)
    try:
        if not passwords.fits(now_, credentials.password_hash):
            return _account(request, person, shell, "The password now is another one.", status=403)
        if new != again:
            return _account(request, person, shell, "The two new ones are not the same.", status=422)
        if new == now_:
            return _account(request, person, shell, "The new one is the old one.", status=422)
        passwords.need_strong(new, person.name)
    except (passwords.WeakPassword, passwords.TooManyAtOnce) as error:
        return _account(request, person, shell, str(error), status=422)
    shell.ledger.set_password(
        person.name, passwords.hashed(new), by=person.name, now=at, must_change=False, keep=person.session
    )
    return _account(request, person, shell, "Your password is changed.", done=True)


def signed_in(
    request: Request, shell: Shell, user: User, to: str, *, how: str, sources: tuple[Source, ...] = ()
) -> Response:
    """Send somebody on with a new session; the one that this browser had before ends."""
    visit: Visit = request.state.visit
    settings, at = shell.settings.console, now()
    before = cookie_of(request.headers, cookies.session_name(visit, settings))
    if before:
        shell.ledger.sign_out(digest(before), by=user.name, now=at)
    token, device = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    shell.ledger.sign_in(
        user,
        Tokens(digest(token), digest(device), digest(_device(request, shell))),
        address=visit.address,
        how=how,
        sources=sources,
        lifetimes=lifetimes(settings),
        now=at,
    )
    response = RedirectResponse(to, 303)
    cookies.put(response, cookies.session_name(visit, settings), token, visit)
    cookies.put(response, cookies.device_name(visit, settings), device, visit, max_age_s=cookies.DEVICE_S)
    return response


def safe_next(address: str) -> str:
    """Where to go after the sign-in: a path of ours, whatever a link to the sign-in page says."""
    plain = address.isprintable() and "\\" not in address and len(address) <= _LONGEST_NEXT
    ours = address.startswith("/") and not address.startswith("//")
    return address if plain and ours and not address.startswith("/sign-") else "/"


def _device(request: Request, shell: Shell) -> str:
    return cookie_of(request.headers, cookies.device_name(request.state.visit, shell.settings.console))


def _page(
    request: Request,
    shell: Shell,
    next_: str,
    *,
    name: str = "",
    words: str = "",
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> HTMLResponse:
    settings = shell.settings.console
    proxied = settings.proxy is not None and bool(settings.proxy.user_header)
    text = bare_page(
        request,
        "sign_in.html",
        next=safe_next(next_),
        name=name[:64],
        words=words,
        provider=settings.oidc.word if settings.oidc else "",
        anybody=proxied or settings.oidc is not None or shell.ledger.has_admin(),
    )
    return HTMLResponse(text, status, headers)


def _account(
    request: Request, person: Viewer, shell: Shell, words: str = "", *, done: bool = False, status: int = 200
) -> HTMLResponse:
    return page(
        request,
        "password.html",
        person,
        status_code=status,
        words=words,
        done=done,
        has_password=shell.ledger.credentials(person.name) is not None,
        shortest=passwords.SHORTEST,
    )
