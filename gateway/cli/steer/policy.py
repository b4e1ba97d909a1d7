"""`filmgate policy`: the rules in force, their versions, and what others would change."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.bootstrap import Shell
from gateway.cli.options import Common, Signed, need_paths
from gateway.cli.output import clean, counted, print_json, print_list, say, when
from gateway.cli.shell import open_shell
from gateway.errors import NotFound
from gateway.ledger.steering.records import Version
from gateway.policies.in_force import checked
from gateway.policies.trying import FEWEST_FILMS, MOST_FILMS, Change, Tried, try_rules
from gateway.settings import load
from gateway.settings.lined_yaml import text_of
from pipelines.policy import DEFAULT_RULES, Policy, PolicyError

SHORT = 16  # characters of a digest that people compare
SETTINGS = "settings"

File = Annotated[Path, typer.Argument(help="A policy file (docs/policy.md).")]
Tried_ = Annotated[
    Path | None, typer.Argument(help="A policy file to try; without one, the rules in force are.")
]
Films = Annotated[
    int, typer.Option("--films", min=FEWEST_FILMS, max=MOST_FILMS, help="How many of the last films.")
]
Which = Annotated[int | None, typer.Option("--version", help="One version; without it, what is in force.")]
Back = Annotated[
    str, typer.Argument(help=f"A version of `policy versions`, or `{SETTINGS}`: the rules of the settings.")
]


def show(common: Common, version: Which = None) -> None:
    """Print the rules in force, or those of one version."""
    with _shell(common) as shell:
        found = shell.ledger.policy_version(version)
        text = found.text if found and found.text is not None else _text_of_settings(shell)
        digest = Policy.load(text).digest
    if common.json:
        item = _item(found) if found else {"version": None, "of_settings": True}
        print_json([item | {"digest": digest, "text": text}])
    else:
        say(text.rstrip("\n"))


def check(common: Common, file: File) -> None:
    """Read a policy file as workers would; exit code 2 and its line and rule when it cannot be used."""
    need_paths([file])
    policy = _loaded(file)
    lacks = list(policy.lacks)
    if common.json:
        print_json([{"usable": True, "digest": policy.digest, "rules": len(policy.rules), "lacks": lacks}])
        return
    say(
        f"{clean(str(file))} can be used: {counted(len(policy.rules), 'rule')}, "
        f"digest {policy.digest[:SHORT]}"
    )
    if lacks:
        say(f"warning: no rule names {', '.join(lacks)}; films with that are held as unexplained")


def try_policy(common: Common, file: Tried_ = None, films: Films = 500) -> None:
    """Say what a policy file would change on the last films; nothing is changed by it."""
    if file:
        need_paths([file])
    with _shell(common) as shell:
        in_force = shell.rules(shell.rulebook().in_force().policy)
        tried = replace(in_force, policy=_loaded(file)) if file else in_force
        result = try_rules(shell.ledger, in_force, tried, films)
    if common.json:
        print_json(map(change_item, result.changes))
        _say_summary(result, stderr=True)
        return
    columns = ("film", "now", "by rule", "would be", "by rule", "reasons")
    print_list(columns, map(_row, result.changes), below=1)
    _say_summary(result)


def versions(common: Common) -> None:
    """List the versions of the rules that people put in force, newest first."""
    with _shell(common) as shell:
        found = shell.ledger.policy_versions()
    if common.json:
        print_json(map(_item, found))
        return
    columns = ("version", "in force since", "by", "digest", "of", "note")
    rows = [(v.id, when(v.said_at), v.said_by, v.digest[:SHORT], _origin(v), v.note) for v in found]
    print_list(columns, rows, below=1)
    if not found:
        say("the rules of the settings are in force; `filmgate policy use FILE` puts others in their place")


def use(common: Common, file: File, signed: Signed) -> None:
    """Put a policy file in force, from the next film on, without a restart."""
    need_paths([file])
    with _shell(common) as shell:
        text, _ = text_of(file), _loaded(file)
        version = shell.rulebook().use(text, by=signed.person, note=signed.note, now=datetime.now(UTC))
    _say_in_force(common, version)


def revert(common: Common, version: Back, signed: Signed) -> None:
    """Put an older version in force once more, or the rules of the settings."""
    if version != SETTINGS and not version.isdigit():
        raise NotFound(f"{version!r} is no version. Nothing was changed. Name a number, or `{SETTINGS}`.")
    which = None if version == SETTINGS else int(version)
    with _shell(common) as shell:
        found = shell.rulebook().use_again(which, by=signed.person, note=signed.note, now=datetime.now(UTC))
    _say_in_force(common, found)


@contextmanager
def _shell(common: Common) -> Iterator[Shell]:
    with open_shell(load(common.config, common.state)) as shell:
        yield shell


def _text_of_settings(shell: Shell) -> str:
    return text_of(shell.settings.policy.file or DEFAULT_RULES)


def _loaded(file: Path) -> Policy:
    try:
        return checked(text_of(file))
    except PolicyError as error:
        typer.echo(f"filmgate: {clean(str(file))}: {clean(str(error))}. Nothing was changed.", err=True)
        raise typer.Exit(2) from error


def _item(version: Version) -> dict[str, Any]:
    """What a program is given of one version; its text is in `policy show --json`."""
    values = asdict(version)
    return {
        "version": values["id"],
        "digest": values["digest"],
        "in_force_since": values["said_at"],
        "by": values["said_by"],
        "note": values["note"],
        "again": values["again"],
        "of_settings": version.text is None,
    }


def change_item(change: Change) -> dict[str, Any]:
    """What a program is given of one film that would be decided otherwise."""
    return {
        "film_id": change.film_id,
        "kind": change.kind,
        "now": asdict(change.was),
        "would_be": asdict(change.would_be),
    }


def _row(change: Change) -> tuple[object, ...]:
    was, would_be = change.was, change.would_be
    reasons = f"{', '.join(was.reasons) or 'none'} → {', '.join(would_be.reasons) or 'none'}"
    return change.film_id, was.act, was.rule, would_be.act, would_be.rule, reasons


def _say_summary(result: Tried, *, stderr: bool = False) -> None:
    lines = [f"{counted(len(result.changes), 'film')} of {result.films} would be decided otherwise"]
    lines += [f"  {count} {kind}" for kind, count in result.kinds.items()]
    if unseen := sum(change.would_be.copy_unseen for change in result.changes):
        lines.append(f"  of these {unseen} would be corrected, and no gate has seen the copies yet")
    if result.drifted:
        lines.append(
            f"{counted(len(result.drifted), 'film')} were decided otherwise then: other rules, settings "
            "or destinations were in force"
        )
    if result.untold:
        lines.append(
            f"of {counted(result.untold, 'film')} nobody can say: what they were decided by was not kept"
        )
    if result.not_by_rules:
        lines.append(f"{counted(result.not_by_rules, 'film')} were decided by no rule at all")
    for line in lines:
        typer.echo(line, err=True) if stderr else say(line)
    sys.stderr.flush()


def _origin(version: Version) -> str:
    if version.text is None:
        return "the settings"
    return f"version {version.again}" if version.again else "new"


def _say_in_force(common: Common, version: Version) -> None:
    if common.json:
        print_json([_item(version)])
        return
    say(f"version {version.id} decides from the next film on (digest {version.digest[:SHORT]})")
    say("films that were decided before stay as they are; `filmgate films gate-again` examines single ones")
