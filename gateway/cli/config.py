"""`filmgate config`: write, check and show the settings."""

from __future__ import annotations

import json as json_module
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import options
from gateway.cli.output import print_json, print_table, say
from gateway.errors import FilmgateError
from gateway.settings import DEFAULT_FILE, Settings, read, values

app = typer.Typer(no_args_is_help=True, help="Write, check and show the settings.")

Target = Annotated[Path, typer.Argument(help="The file to write.")]


@app.command()
def init(target: Target = DEFAULT_FILE, config: options.Config = None, state: options.State = None) -> None:
    """Write an annotated filmgate.yaml with the defaults; never over an existing file."""
    del state
    path = config or target
    text = files("gateway").joinpath("filmgate.yaml").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise FilmgateError(f"{path} exists already; it was left as it is. Name another file.") from None
    except OSError as error:
        raise FilmgateError(f"{path} cannot be written: {error.strerror}. Name another file.") from error
    say(f"{path} written; edit it, then `filmgate config check --config {path}`")


@app.command()
def check(config: options.Config = None, state: options.State = None) -> None:
    """Read the settings as `up` would; exit code 2 and every fault with its line when they are wrong.

    What can be used but keeps films from where they should go is a warning, with its line as well.
    """
    from gateway.supervisor import fitness
    from gateway.supervisor.supervisor import load_all

    options.quiet_logs(errors_alone=True)
    load_all(config, state)
    loaded = read(config, state)
    found = list(fitness.troubles(loaded.settings))
    for trouble in found:
        say(f"warning: {loaded.origin(trouble.loc)}: {trouble.words}")
    said = {trouble.closes for trouble in found}
    for what in (what for what in fitness.closed(loaded.settings) if what not in said):
        say(f"warning: closed: {what}; `filmgate doctor` says why")
    names = ", ".join(loaded.settings.destinations) or "none"
    source = loaded.source or "no file, defaults alone"
    say(f"the settings can be used ({source}); destinations: {names}")


@app.command()
def show(json: options.Json = False, config: options.Config = None, state: options.State = None) -> None:
    """Show every setting in force and where it was said."""
    loaded = read(config, state)
    rows = [
        {"key": ".".join(map(str, loc)), "value": value, "origin": loaded.origin(loc)}
        for loc, value in values(loaded.settings)
    ]
    if json:
        print_json(rows)
    else:
        shown = ((row["key"], json_module.dumps(row["value"]), row["origin"]) for row in rows)
        print_table(("key", "value", "from"), shown)


@app.command()
def schema() -> None:
    """Print the JSON schema of filmgate.yaml, for editors."""
    say(json_module.dumps(Settings.model_json_schema(by_alias=True), indent=2))
