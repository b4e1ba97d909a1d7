"""`filmgate config`: write, check and show the settings."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.options import Common
from gateway.cli.output import print_json, say
from gateway.cli.quiet import quiet_logs
from gateway.cli.tables import print_table
from gateway.errors import FilmgateError
from gateway.settings import DEFAULT_FILE, Settings, read, values
from gateway.supervisor import fitness
from gateway.supervisor.supervisor import load_all

Target = Annotated[Path, typer.Argument(help="The file to write.")]


def init(common: Common, target: Target = DEFAULT_FILE) -> None:
    """Write an annotated filmgate.yaml with the defaults; never over an existing file."""
    path = common.config or target
    text = files("gateway").joinpath("filmgate.yaml").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise FilmgateError(f"{path} exists already; it was left as it is. Name another file.") from None
    except OSError as error:
        raise FilmgateError(f"{path} cannot be written: {error.strerror}. Name another file.") from error
    if common.json:
        print_json([{"path": path}])
    else:
        say(f"{path} written; edit it, then `filmgate config check --config {path}`")


def check(common: Common) -> None:
    """Read the settings as `up` would; exit code 2 and every fault with its line when they are wrong.

    What can be used but keeps films from where they should go is a warning, with its line as well.
    """
    quiet_logs(errors_alone=True)
    load_all(common.config, common.state)
    loaded = read(common.config, common.state)
    troubles = list(fitness.troubles(loaded.settings))
    warnings = [f"{loaded.origin(trouble.loc)}: {trouble.words}" for trouble in troubles]
    said = {trouble.closes for trouble in troubles}
    closed = [what for what in fitness.closed(loaded.settings) if what not in said]
    warnings += [f"closed: {what}; `filmgate doctor` says why" for what in closed]
    names = list(loaded.settings.destinations)
    if common.json:
        source = loaded.source and str(loaded.source)
        print_json([{"usable": True, "source": source or None, "destinations": names, "warnings": warnings}])
        return
    for warning in warnings:
        say(f"warning: {warning}")
    source = loaded.source or "no file, defaults alone"
    say(f"the settings can be used ({source}); destinations: {', '.join(names) or 'none'}")


def show(common: Common) -> None:
    """Show every setting in force and where it was said."""
    loaded = read(common.config, common.state)
    rows: list[dict[str, Any]] = [
        {"key": ".".join(map(str, loc)), "value": value, "origin": loaded.origin(loc)}
        for loc, value in values(loaded.settings)
    ]
    if common.json:
        print_json(rows)
    else:
        shown = ((row["key"], json.dumps(row["value"]), row["origin"]) for row in rows)
        print_table(("key", "value", "from"), shown)


def schema(common: Common) -> None:
    """Print the JSON schema of filmgate.yaml, for editors."""
    described = Settings.model_json_schema(by_alias=True)
    if common.json:
        print_json([described])
    else:
        say(json.dumps(described, indent=2))
