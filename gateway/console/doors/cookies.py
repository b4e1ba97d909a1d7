"""The cookies: HttpOnly, SameSite=Strict, for this host alone, and by TLS alone where there is TLS.

By TLS their names begin with __Host-, so that no other host of the domain can have set them. Without TLS
the port is part of the name: cookies do not know ports, and two gateways of one machine would sign each
other out.
"""

from __future__ import annotations

from typing import Literal

from starlette.responses import Response

from gateway.console.doors.visit import Visit
from gateway.settings import ConsoleSettings

DEVICE_S = 90 * 24 * 3600


def session_name(visit: Visit, settings: ConsoleSettings) -> str:
    return _name("session", visit, settings)


def device_name(visit: Visit, settings: ConsoleSettings) -> str:
    return _name("device", visit, settings)


def provider_name(visit: Visit, settings: ConsoleSettings) -> str:
    return _name("provider", visit, settings)


def put(
    response: Response,
    name: str,
    value: str,
    visit: Visit,
    *,
    max_age_s: int | None = None,
    same_site: Literal["strict", "lax"] = "strict",
) -> None:
    """Have the browser keep a cookie; without `max_age_s` until it is closed."""
    response.set_cookie(
        name, value, max_age=max_age_s, path="/", secure=visit.by_tls, httponly=True, samesite=same_site
    )


def drop(response: Response, name: str, visit: Visit) -> None:
    response.delete_cookie(name, path="/", secure=visit.by_tls, httponly=True, samesite="strict")


def _name(what: str, visit: Visit, settings: ConsoleSettings) -> str:
    return f"__Host-filmgate-{what}" if visit.by_tls else f"filmgate-{what}-{settings.port}"
