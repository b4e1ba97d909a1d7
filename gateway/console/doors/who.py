"""Who is at the other end: by the cookie of a session, or because a proxy that is named says so."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from gateway.bootstrap import Shell, now
from gateway.console.doors import cookies
from gateway.console.doors.visit import Unwelcome, Visit
from gateway.ledger.people.peopling import CannotChangePerson
from gateway.ledger.people.records import Lifetimes, Role, User
from gateway.ledger.people.signing_in import digest
from gateway.settings import ConsoleSettings, ProxySettings

_ORDER = tuple(Role)
UNATTENDED = "x-unattended"  # our pages send it with what they ask by themselves: it keeps no session open
_UNATTENDED_PATHS = ("/api/pulse",)
_ARRIVALS = timedelta(hours=12)  # one audit row for a person in so long, where a proxy signs them in


@dataclass(frozen=True, slots=True)
class Person:
    """Who is at the other end; `name` stands in every audit row.

    `session` is the digest of the session's token, "" where a proxy vouches for them.
    """

    name: str
    role: Role
    csrf_token: str = ""
    session: str = ""
    must_change: bool = False

    def may(self, role: str) -> bool:
        return _ORDER.index(self.role) >= _ORDER.index(Role(role))


def lifetimes(settings: ConsoleSettings) -> Lifetimes:
    return Lifetimes(settings.idle_min * 60, settings.longest_h * 3600)


def person_in(scope: Scope, visit: Visit, shell: Shell) -> Person | None:
    """Who it is; None when nobody has signed in.

    Raises:
        Unwelcome: a proxy names somebody who may not come in.
        LedgerError: the ledger cannot be asked.
    """
    headers, settings = Headers(scope=scope), shell.settings.console
    if settings.proxy is not None and settings.proxy.user_header and visit.by_proxy:
        return _by_proxy(headers, settings.proxy, visit, shell)
    token = cookie_of(headers, cookies.session_name(visit, settings))
    if not token:
        return None
    attended = UNATTENDED not in headers and scope["path"] not in _UNATTENDED_PATHS
    session = digest(token)
    user = shell.ledger.person_of(session, lifetimes=lifetimes(settings), now=now(), touch=attended)
    return None if user is None else _person(user, token, session)


def cookie_of(headers: Headers, name: str) -> str:
    """The value of a cookie; "" when there is none, or when there are several and who knows whose."""
    values = [cookie_parser(part.strip()).get(name, "") for part in headers.get("cookie", "").split(";")]
    named = [value for value in values if value]
    return named[0] if len(named) == 1 else ""


def _person(user: User, secret: str, session: str = "") -> Person:
    token = hmac.new(secret.encode(), b"filmgate form", "sha256").hexdigest()
    return Person(user.name, user.role, token, session, user.must_change and bool(session))


def _by_proxy(headers: Headers, proxy: ProxySettings, visit: Visit, shell: Shell) -> Person | None:
    names = headers.getlist(proxy.user_header)
    if not names:
        return None
    if len(names) > 1:
        raise Unwelcome(403, f"The reverse proxy sent the header {proxy.user_header} more than once.")
    groups = ",".join(headers.getlist(proxy.role_header)) if proxy.role_header else ""
    role = role_of((group.strip() for group in groups.split(",")), proxy.roles, proxy.default_role)
    user = known_elsewhere(
        shell,
        f"proxy {names[0]}",
        names[0].strip(),
        role,
        follow=bool(proxy.role_header),
        by="proxy",
    )
    at = now()
    if user.signed_in_at is None or at - user.signed_in_at > _ARRIVALS:
        shell.ledger.arrived(user, address=visit.address, how="proxy", now=at)
    return _person(user, user.form_key)


def role_of(groups: object, roles: object, default: str | None) -> Role | None:
    """The highest role that one of the groups has."""
    assert isinstance(roles, dict)
    named = [Role(roles[group]) for group in groups if group in roles]  # type: ignore[attr-defined]
    if named:
        return max(named, key=_ORDER.index)
    return Role(default) if default else None


def known_elsewhere(
    shell: Shell,
    subject: str,
    name: str,
    role: Role | None,
    *,
    follow: bool,
    by: str,
    at: datetime | None = None,
) -> User:
    """The person whom a provider or proxy vouches for; who comes the first time is added.

    With `follow` the role is the provider's to say, each time; else it is only the first one.

    Raises:
        Unwelcome: they have no role, are disabled, or their name is somebody else's here.
    """
    at, user = at or now(), shell.ledger.user_of_subject(subject)
    if user is not None and user.disabled:
        raise Unwelcome(403, "Your account here is disabled. An admin of filmgate can enable it.")
    if role is None and (user is None or follow):
        raise Unwelcome(403, "You are known, but none of your groups may use this console. Ask your IT.")
    if user is None:
        assert role is not None
        try:
            return shell.ledger.add_user(name, role, by=by, now=at, subject=subject)
        except CannotChangePerson as error:
            raise Unwelcome(403, f"You cannot be signed in: {error}") from error
    if follow and role is not None and role is not user.role:
        shell.ledger.follow_role(user, role, by=by, now=at)
        again = shell.ledger.user_of_subject(subject)
        return again or user
    return user
