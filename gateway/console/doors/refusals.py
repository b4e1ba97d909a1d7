"""How the console says no: a page for people, `{"detail": words}` for programs; never a traceback."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from gateway.console.rendering import bare_page
from gateway.errors import FilmgateError, LedgerError, NotFound

log = structlog.get_logger()

_HEADS = {
    400: "That was not understood",
    401: "Please sign in",
    403: "This is not for you",
    404: "There is no such page",
    405: "That cannot be done here",
    409: "That cannot be done now",
    413: "That is too much at once",
    421: "Wrong name",
    422: "That was not understood",
    429: "Please wait",
    500: "The console made a mistake",
    503: "The console cannot answer now",
    507: "The disk is full",
}
_WORDS = {404: "Perhaps the address was cut short. The bar of any page leads on.", 405: "Nothing was done."}
_MOST_FAULTS = 5


# What programs get when something is refused, and what browsers do.
_WORDS_OR_PAGE = {
    "application/json": {
        "schema": {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
    },
    "text/html": {"schema": {"type": "string"}},
}
RESPONSES: dict[int | str, dict[str, object]] = {
    status: {"description": words, "content": _WORDS_OR_PAGE}
    for status, words in _HEADS.items()
    if status in (400, 401, 403, 404, 409, 413, 422, 503, 507)
}


def install(app: FastAPI) -> None:
    """Have every refusal of a route go through here."""
    app.add_exception_handler(HTTPException, _of_a_route)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(FilmgateError, _of_ours)


def refusal(request: Request, status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
    """A page where a browser shows one, else JSON."""
    if wants_page(request):
        page = bare_page(request, "refusal.html", head=_HEADS.get(status, "That did not work"), words=words)
        return HTMLResponse(page, status, dict(headers or {}))
    return JSONResponse({"detail": words}, status, dict(headers or {}))


def wants_page(request: Request) -> bool:
    """Whether a browser goes to another page; not HTMX, which swaps parts, nor our JavaScript."""
    headers = request.headers
    return "hx-request" not in headers and "text/html" in headers.get("accept", "")


def sign_in_first(request: Request) -> Response:
    """Lead to the sign-in page, and from there back to where somebody wanted to go."""
    if "hx-request" in request.headers:
        return JSONResponse({"detail": "You are signed out."}, 401, {"HX-Redirect": "/sign-in"})
    if request.method not in ("GET", "HEAD") or not wants_page(request):
        return refusal(
            request, 401, "You are not signed in, or your session is over. Sign in and do it once more."
        )
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # A link in a mail: the browser keeps SameSite=Strict cookies back, and sends them when we ask anew.
        return HTMLResponse(bare_page(request, "again.html"))
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/sign-in" if path == "/" else f"/sign-in?next={quote(path, safe='')}", 303)


def change_password_first(request: Request) -> Response:
    """Lead to the page where somebody whose password another one made gives themselves their own."""
    if "hx-request" in request.headers:
        return JSONResponse({"detail": "Change your password first."}, 403, {"HX-Redirect": "/password"})
    if not wants_page(request):
        return refusal(request, 403, "Change your password first.")
    return RedirectResponse("/password", 303)


def mistake(request: Request, error: Exception) -> Response:
    """An error that nobody thought of: the log has where it was, the browser has the log line's id.

    The log gets the route and not the address, which may hold what somebody searched for.
    """
    number = secrets.token_hex(4)
    route = getattr(request.scope.get("route"), "path", "")
    log.error("the console made a mistake", id=number, route=route, method=request.method, exc_info=error)
    words = (
        f"It is a mistake of filmgate, and is in its log as {number}. Films come in, are examined and are "
        "sent as before. What you asked for may not have been done: look before you do it again."
    )
    return refusal(request, 500, words)


async def _of_a_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    plain = error.detail in ("Not Found", "Method Not Allowed", "")
    words = _WORDS.get(error.status_code, "Nothing was done.") if plain else str(error.detail)
    return refusal(request, error.status_code, words, error.headers)


async def _not_understood(request: Request, error: Exception) -> Response:
    """Which field, and what is wrong with it; never its value."""
    assert isinstance(error, RequestValidationError)
    faults = [
        f"{'.'.join(str(step) for step in fault['loc'][1:]) or 'the request'}: {fault['msg']}"
        for fault in error.errors()[:_MOST_FAULTS]
    ]
    return refusal(request, 422, f"Nothing was done. {'; '.join(faults)}")


async def _of_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, FilmgateError)
    if isinstance(error, LedgerError):
        words = f"{error} Films that come in wait meanwhile; try again in a moment."
        return refusal(request, 503, words, {"Retry-After": "5"})
    return refusal(request, 404 if isinstance(error, NotFound) else 409, str(error))
