"""Policy: the rules in force, others tried and put in force; and the bypass of the gates."""

from __future__ import annotations

import difflib
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.bootstrap import Shell, now
from gateway.console.doors import Admin, Person, Things, Viewer
from gateway.console.pages.steering.tries import Tries, Work
from gateway.console.rendering import page, part
from gateway.errors import FilmgateError, NotFound, PolicyDamaged
from gateway.ledger.steering.records import Version
from gateway.policies.in_force import LONGEST_TEXT, checked
from gateway.policies.trying import FEWEST_FILMS, MOST_FILMS, try_rules
from gateway.settings.lined_yaml import text_of
from pipelines.policy import DEFAULT_RULES, PolicyError

router = APIRouter()

SHOWN = 300  # films of a result; programs get all of them by `filmgate policy try --json`
VERSIONS = 50

Text = Annotated[str, Form(max_length=LONGEST_TEXT)]
Note = Annotated[str, Form(max_length=500)]
VersionId = Annotated[int, Field(ge=1, le=2**53)]


class Asked(BaseModel):
    """Rules to be read."""

    text: str = Field(max_length=LONGEST_TEXT)


class Checked(BaseModel):
    """What the loader that workers use says of them."""

    ok: bool
    line: int | None = None
    words: str
    digest: str = ""
    lacks: list[str] = []


@router.get("/policy", include_in_schema=False)
def policy(
    request: Request,
    person: Viewer,
    shell: Things,
    version: Annotated[VersionId | None, Query()] = None,
    words: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    if version is None:
        return _page(request, person, shell, done=_DONE.get(words, ""))
    chosen = shell.ledger.policy_version(version)
    return _page(request, person, shell, text=_text(shell, chosen), editing=version)


_DONE = {
    "in-force": "These rules decide from the next film on.",
    "bypassed": "The gates are bypassed: every film goes to AI, from the next one on.",
    "bypass-over": "The gates decide again, from the next film on.",
}


@router.post("/api/policy/check")
def check(_: Viewer, asked: Asked) -> Checked:
    """Read rules as workers would; nothing is changed."""
    try:
        found = checked(asked.text)
    except PolicyError as error:
        return Checked(ok=False, line=error.line, words=error.words)
    lacks = list(found.lacks)
    words = f"{len(found.rules)} rules; they can be used."
    if lacks:
        words += f" No rule names {', '.join(lacks)}: films with that are held as unexplained."
    return Checked(ok=True, words=words, digest=found.digest, lacks=lacks)


@router.post("/policy", include_in_schema=False)
def use(request: Request, person: Admin, shell: Things, text: Text, note: Note = "") -> Response:
    text = _unix(text)
    if not note.strip():
        error = "Say why: whoever reads the list of versions wants to know. Nothing was changed."
        return _page(request, person, shell, text=text, error=error, status=409)
    try:
        shell.rulebook().use(text, by=person.name, note=note.strip(), now=now())
    except PolicyError as error:
        return _page(
            request, person, shell, text=text, note=note, error=f"{error}. Nothing was changed.", status=409
        )
    return RedirectResponse("/policy?words=in-force", 303)


@router.post("/policy/revert", include_in_schema=False)
def revert(
    person: Admin, shell: Things, version: Annotated[int, Form(ge=0, le=2**53)], note: Note = ""
) -> Response:
    """Put an older version in force once more; 0 stands for the rules of the settings."""
    shell.rulebook().use_again(version or None, by=person.name, note=note.strip(), now=now())
    return RedirectResponse("/policy?words=in-force", 303)


@router.get("/policy/versions/{version_id}", include_in_schema=False)
def one_version(
    request: Request,
    person: Viewer,
    shell: Things,
    version_id: VersionId,
    against: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> HTMLResponse:
    """A version and what it changed: against the one before it, or another; 0 is the settings' rules."""
    version = shell.ledger.policy_version(version_id)
    assert version is not None
    before = against if against is not None else version_id - 1
    older = shell.ledger.policy_version(before) if before else None
    named = f"version {before}" if before else "the rules of the settings"
    lines = difflib.unified_diff(
        _text(shell, older).splitlines(),
        _text(shell, version).splitlines(),
        named,
        f"version {version_id}",
        n=3,
        lineterm="",
    )
    return page(
        request,
        "steering/version.html",
        person,
        version=version,
        versions=shell.ledger.policy_versions(VERSIONS),
        before=before,
        named=named,
        lines=[(_KINDS.get(line[:1], ""), line) for line in lines],
    )


_KINDS = {"+": "added", "-": "removed", "@": "place"}


# Try-outs


@router.post("/policy/tries", include_in_schema=False)
def begin_try(
    request: Request,
    person: Viewer,
    shell: Things,
    text: Text,
    films: Annotated[int, Form(ge=FEWEST_FILMS, le=MOST_FILMS)] = 500,
) -> HTMLResponse:
    try:
        tried = checked(_unix(text))
        in_force = shell.rules(shell.rulebook().in_force().policy)
        work: Work = partial(try_rules, shell.ledger, in_force, replace(in_force, policy=tried), films)
        one = _tries(request).begin(person.name, films, work)
    except (PolicyError, FilmgateError) as error:
        return part(request, "steering/try.html", person, one=None, error=str(error))
    return part(request, "steering/try.html", person, one=one, error="", shown=SHOWN)


@router.get("/policy/tries/{try_id}", include_in_schema=False)
def one_try(request: Request, person: Viewer, try_id: Annotated[str, Field(max_length=32)]) -> HTMLResponse:
    one = _tries(request).get(try_id)
    error = "" if one else "This result is not kept any more. Try the rules once more."
    return part(request, "steering/try.html", person, one=one, error=error, shown=SHOWN)


def _tries(request: Request) -> Tries:
    tries: Tries = request.app.state.tries
    return tries


# The bypass


@router.post("/policy/bypass", include_in_schema=False)
def begin_bypass(
    request: Request,
    person: Admin,
    shell: Things,
    hours: Annotated[int, Form(ge=1, le=24)],
    reason: Annotated[str, Form(max_length=500)],
) -> Response:
    at = now()
    try:
        shell.ledger.begin_bypass(by=person.name, reason=reason, until=at + timedelta(hours=hours), now=at)
    except FilmgateError as error:
        return _page(request, person, shell, error=str(error), status=409)
    return RedirectResponse("/policy?words=bypassed", 303)


@router.post("/policy/bypass/end", include_in_schema=False)
def end_bypass(person: Admin, shell: Things) -> Response:
    shell.ledger.end_bypass(by=person.name, now=now())
    return RedirectResponse("/policy?words=bypass-over", 303)


@router.get("/policy/bypass", include_in_schema=False)
def bypass_bar(request: Request, person: Viewer, shell: Things) -> HTMLResponse:
    """The bar that every page shows while the gates are bypassed; it comes and goes by itself."""
    return part(request, "steering/bypass.html", person, bypass=shell.ledger.bypass(now()))


# Inside


def _page(
    request: Request,
    person: Person,
    shell: Shell,
    *,
    text: str | None = None,
    editing: int | None = None,
    note: str = "",
    error: str = "",
    done: str = "",
    status: int = 200,
) -> HTMLResponse:
    damaged, in_force, own = "", None, None
    try:
        in_force = shell.rulebook().in_force()
        own = _text(shell, in_force.version)
    except PolicyDamaged as trouble:
        damaged = str(trouble)
    return page(
        request,
        "steering/policy.html",
        person,
        status_code=status,
        in_force=in_force,
        damaged=damaged,
        text=text if text is not None else own or _text(shell, None),
        editing=editing,
        note=note,
        error=error,
        done=done,
        source=shell.settings.policy.file or "the rules that ship with filmgate",
        versions=shell.ledger.policy_versions(VERSIONS),
        modes=shell.ledger.modes(),
        usual=shell.settings.policy.mode,
        correct=shell.settings.policy.correct,
        fewest=FEWEST_FILMS,
        most=MOST_FILMS,
    )


def _text(shell: Shell, version: Version | None) -> str:
    """
    Raises:
        NotFound: the file of the settings is gone.
    """
    if version is not None and version.text is not None:
        return version.text
    try:
        return text_of(shell.settings.policy.file or DEFAULT_RULES)
    except OSError as error:
        raise NotFound(f"the policy file of the settings cannot be read: {error.strerror}.") from error


def _unix(text: str) -> str:
    """Browsers send the lines of a form with CR LF."""
    return text.replace("\r\n", "\n")
