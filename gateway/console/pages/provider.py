"""Sign in by a provider: there, and back. Only where `console.oidc` names one."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from gateway.bootstrap import Shell
from gateway.console.doors import Things, cookies, refusals
from gateway.console.doors.oidc import Attempt, NotSignedIn, Provider, ProviderSilent
from gateway.console.doors.visit import Unwelcome, Visit
from gateway.console.doors.who import cookie_of, known_elsewhere, role_of
from gateway.console.pages.sign_in import safe_next, signed_in
from gateway.settings import OidcSettings

log = structlog.get_logger()

router = APIRouter(include_in_schema=False)
ATTEMPT_S = 600  # for the whole way there and back


def _provider(request: Request) -> Provider:
    """The one of this application, made when it is first asked for."""
    state = request.app.state
    if not hasattr(state, "provider"):
        state.provider = Provider(_settings(state.shell))
    provider: Provider = state.provider
    return provider


Vouching = Annotated[Provider, Depends(_provider)]


@router.get("/sign-in/provider")
def leave(request: Request, shell: Things, provider: Vouching, next: str = "/") -> Response:  # noqa: A002
    """Send the browser to the provider; what it must bring back is in a cookie for ten minutes."""
    visit: Visit = request.state.visit
    attempt = Attempt.begin(safe_next(next))
    try:
        address = provider.leave(attempt, _back(shell, visit))
    except ProviderSilent as error:
        log.warning("sign-in by provider", problem=str(error), meaning="passwords of filmgate do")
        return refusals.refusal(request, 503, f"You were not signed in: {error}")
    response = RedirectResponse(address, 303)
    name = cookies.provider_name(visit, shell.settings.console)
    # The way back begins at another site, and Strict cookies stay behind then.
    cookies.put(response, name, attempt.cookie(), visit, max_age_s=ATTEMPT_S, same_site="lax")
    return response


@router.get("/sign-in/back")
def come_back(request: Request, shell: Things, provider: Vouching) -> Response:
    visit: Visit = request.state.visit
    settings = _settings(shell)
    name = cookies.provider_name(visit, shell.settings.console)
    attempt = Attempt.of_cookie(cookie_of(request.headers, name))
    if attempt is None:
        words = "You were not signed in: this browser did not ask the provider, or too long ago. Once more?"
        return refusals.refusal(request, 403, words)
    try:
        claims = provider.come_back(attempt, dict(request.query_params), _back(shell, visit))
        role = role_of(claims.groups, settings.roles, settings.default_role)
        user = known_elsewhere(
            shell, claims.subject, claims.name, role, follow=bool(settings.roles), by="provider"
        )
    except (NotSignedIn, ProviderSilent) as error:
        log.warning("sign-in by provider", problem=str(error), meaning="nobody was signed in")
        status = 503 if isinstance(error, ProviderSilent) else 403
        response = refusals.refusal(request, status, f"You were not signed in: {error}")
    except Unwelcome as error:
        response = refusals.refusal(request, error.status_code, error.detail)
    else:
        response = signed_in(request, shell, user, safe_next(attempt.next), how="provider")
    cookies.drop(response, name, visit)
    return response


def _back(shell: Shell, visit: Visit) -> str:
    """Where the provider sends the browser, as it is registered there."""
    ours = f"{'https' if visit.by_tls else 'http'}://{visit.host}"
    return (_settings(shell).address.rstrip("/") or ours) + "/sign-in/back"


def _settings(shell: Shell) -> OidcSettings:
    settings = shell.settings.console.oidc
    assert settings is not None  # else this router is not there
    return settings
