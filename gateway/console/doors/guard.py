"""Around every request: limits, names, who it is, and the headers of every answer."""

from __future__ import annotations

import math

import anyio
import anyio.to_thread
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.bootstrap import Shell
from gateway.console.doors import forms, refusals
from gateway.console.doors.visit import Unwelcome, visit_of
from gateway.console.doors.who import person_in
from gateway.errors import LedgerError

log = structlog.get_logger()

# Closed is what does not stand here. Without having signed in: the door itself, what monitoring asks, and
# what pages are made of.
OPEN = ("/sign-in", "/sign-in/provider", "/sign-in/back", "/livez", "/readyz", "/metrics", "/favicon.ico")
OPEN_BELOW = ("/static/",)
CHANGE_FIRST = ("/password", "/sign-out")  # all that somebody with a password of somebody else's may ask for

# The longest body; what begins with a path here may be longer. All of it is for people who have signed in.
MOST_BYTES = 1 << 20
LARGE_BODIES: tuple[tuple[str, int], ...] = (("/api/uploads/", 4 << 20),)  # pieces of files
PART_S = 30.0  # the next part of a body, or room for the next part of an answer, comes within this
WHOLE_S, WHOLE_LARGE_S = 60.0, 3600.0  # a whole body comes within this

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: tuple[tuple[str, str], ...] = (
    ("Content-Security-Policy", _CSP),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # With "no-referrer" browsers send `Origin: null` with our own forms; this tells other sites nothing, too.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    (
        "Permissions-Policy",
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), display-capture=()",
    ),
)


class Guard:
    """The outermost middleware of ours.

    Args:
        app: the rest.
        shell: ledger and settings.
    """

    def __init__(self, app: ASGIApp, shell: Shell) -> None:
        self._app = app
        self._shell = shell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request, answer = Request(scope), _Answer(scope, send)
        try:
            await self._pass(request, _Body(scope, receive), answer)
        except Unwelcome as error:
            if not answer.begun:
                refused = refusals.refusal(request, error.status_code, error.detail)
                await refused(scope, receive, answer)
        except _NotRead:
            log.info("a browser did not read its answer", meaning="its connection is closed")
        except Exception as error:  # noqa: BLE001  the console's 500
            response = refusals.mistake(request, error)
            if not answer.begun:
                await response(scope, receive, answer)

    async def _pass(self, request: Request, body: _Body, answer: _Answer) -> None:
        scope, headers, path = request.scope, request.headers, request.scope["path"]
        visit = visit_of(scope, self._shell.settings.console)
        scope["state"] = {**scope.get("state", {}), "visit": visit}
        forms.need_our_origin(request.method, headers, visit)
        body.need_short(headers)
        if not is_open(path):
            try:
                person = await anyio.to_thread.run_sync(person_in, scope, visit, self._shell)
            except LedgerError as error:
                raise Unwelcome(503, f"{error} Try again in a moment.") from error
            if person is None:
                await refusals.sign_in_first(request)(scope, body, answer)
                return
            if person.must_change and path not in CHANGE_FIRST:
                await refusals.change_password_first(request)(scope, body, answer)
                return
            scope["state"]["person"] = person
            scope["state"]["token_in_form"] = forms.need_token_or_form(request.method, headers, person)
        await self._app(scope, body, answer)


def is_open(path: str) -> bool:
    """Whether nobody has to sign in for it."""
    return path in OPEN or path.startswith(OPEN_BELOW)


class _Body:
    """What the browser sends, up to a size and a time."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        large = [most for path, most in LARGE_BODIES if scope["path"].startswith(path)]
        self._most = large[0] if large else MOST_BYTES
        self._until_s = anyio.current_time() + (WHOLE_LARGE_S if large else WHOLE_S)
        self._receive = receive
        self._whole = False
        self._size = 0

    def need_short(self, headers: Headers) -> None:
        """
        Raises:
            Unwelcome: it says itself that it is too long, or contradicts itself.
        """
        lengths = headers.getlist("content-length")
        framed_twice = (
            bool(lengths) and "transfer-encoding" in headers
        )  # where a proxy may read another request
        if (
            framed_twice
            or len(lengths) > 1
            or (lengths and not (lengths[0].isascii() and lengths[0].isdigit()))
        ):
            raise Unwelcome(400, "The request contradicts itself. Nothing was done.")
        if lengths and (len(lengths[0]) > 18 or int(lengths[0]) > self._most):
            raise self._too_long()

    async def __call__(self) -> Message:
        if self._whole:  # only the end of the connection comes after it, whenever that is
            return await self._receive()
        wait_s = min(PART_S, self._until_s - anyio.current_time())
        try:
            with anyio.fail_after(max(0.0, wait_s)):
                message = await self._receive()
        except TimeoutError:
            raise Unwelcome(408, "The rest of the request did not come. Nothing was done.") from None
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise self._too_long()
        self._whole = not message.get("more_body", False)
        return message

    def _too_long(self) -> Unwelcome:
        return Unwelcome(
            413, f"At most {math.ceil(self._most / (1 << 20))} MB are taken here. Nothing was done."
        )


class _NotRead(Exception):
    """Raised when a browser does not take the next part of its answer."""


class _Answer:
    """What goes back, with our headers; a browser that does not read it is given up."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._path = scope["path"]
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS:
                headers[name] = value
            if "cache-control" not in headers:
                ours = self._path.startswith(OPEN_BELOW)  # a minute: a page has twenty of them
                headers["Cache-Control"] = "private, max-age=60" if ours else "no-store"
            if message["status"] in (400, 408, 413):
                headers["Connection"] = "close"  # what is left of the body is nobody's next request
        with anyio.move_on_after(PART_S) as patience:
            await self._send(message)
        if patience.cancelled_caught:
            raise _NotRead
