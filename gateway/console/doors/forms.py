"""That our own page asks, and no other site by way of the browser (CSRF).

What changes something needs two things: that the browser says the request is of our origin (`Origin`,
`Sec-Fetch-Site`), and a token that only our pages know, in the header X-CSRF-Token or the field csrf_token.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.console.doors.visit import Unwelcome, Visit
from gateway.console.doors.who import Person

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
HEADER, FIELD = "x-csrf-token", "csrf_token"
_FORM = "application/x-www-form-urlencoded"
_OTHER_SITE = "Another site asked for this by way of your browser. Nothing was done."
_OLD_PAGE = "This page is of an older session. Nothing was done. Reload it and do it once more."


def need_our_origin(method: str, headers: Headers, visit: Visit) -> None:
    """
    Raises:
        Unwelcome: another site asks.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if method in SAFE:
        # Another site may lead people here by a link, and may neither embed our pictures nor fetch our lists.
        if site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            raise Unwelcome(403, _OTHER_SITE)
        return
    if origin is not None and _netloc(origin) != visit.host.lower():
        raise Unwelcome(403, _OTHER_SITE)
    if site is not None and site != "same-origin":
        raise Unwelcome(403, _OTHER_SITE)


def _netloc(origin: str) -> str:
    """Name and port of an origin; "" of what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # brackets that do not close, a letter that stands for several
        return ""


def need_token_or_form(method: str, headers: Headers, person: Person) -> bool:
    """Whether the token is still to be looked for, in the form.

    Raises:
        Unwelcome: there is no token, or another one.
    """
    if method in SAFE:
        return False
    token = headers.get(HEADER)
    if token is None:
        if headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
            return True
        raise Unwelcome(403, _OLD_PAGE)
    if not _same(token, person):
        raise Unwelcome(403, _OLD_PAGE)
    return False


async def need_form_token(request: Request) -> None:
    """
    Raises:
        HTTPException: the form that the token should be in has none, or another one.
    """
    if getattr(request.state, "token_in_form", False):
        token = (await request.form()).get(FIELD)
        if not (isinstance(token, str) and _same(token, request.state.person)):
            raise HTTPException(403, _OLD_PAGE)


def _same(token: str, person: Person) -> bool:
    return bool(person.csrf_token) and hmac.compare_digest(token.encode(), person.csrf_token.encode())
