"""The command `filmgate`. Only this package prints.

Exit codes: 0 all as asked, 1 something was not, 2 the command line or the configuration cannot be used.
`gateway.cli.commands` says where each command is. Its module, with all that it imports, is loaded when the
command is asked for: `films list` is polled, and must not wait for a network library.
"""

from __future__ import annotations

import gc
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.commands import COMMANDS
from gateway.cli.lazy import LazyGroup, attribute, pass_over_what_is_not_given
from gateway.cli.options import Common
from gateway.cli.output import complain
from gateway.errors import FilmgateError, SettingsError
from gateway.process import private, standard_streams


class Root(LazyGroup):
    """All of them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.add(COMMANDS)
        pass_over_what_is_not_given(self.params)


app = typer.Typer(
    name="filmgate",
    cls=Root,
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Version = Annotated[
    bool, typer.Option("--version", help="Show the version, and the digests of policy and models.")
]
Json = Annotated[bool, typer.Option("--json", help="With --version: one JSON array.")]
Config = Annotated[Path | None, typer.Option("--config", help="With --version: the configuration file.")]
State = Annotated[Path | None, typer.Option("--state", help="With --version: the state folder.")]


@app.callback()
def filmgate(
    context: typer.Context,
    version: Version = False,
    json: Json = False,
    config: Config = None,
    state: State = None,
) -> None:
    """A DICOM gateway for radiography that looks at the pixels before it routes."""
    if version:
        attribute("gateway.cli.version:show_version")(Common(json, config, state))
        raise typer.Exit
    if json or config or state:
        raise typer.BadParameter("--json, --config and --state go after the command's name")
    if context.invoked_subcommand is None:
        context.fail("Missing command.")


def main() -> None:
    """Run a command; an error of ours is told in words, without a traceback."""
    gc.disable()  # until the command is loaded: see `lazy.collect_garbage_again`
    standard_streams.need_standard_files()
    warnings.showwarning = _show_warning
    private.dump_no_core()
    try:
        app()
    except SettingsError as error:
        complain(error, "Nothing was started or changed. `filmgate config check` reads the settings again.")
        sys.exit(2)
    except FilmgateError as error:
        complain(error)
        sys.exit(1)


def _show_warning(*args: Any, **named: Any) -> None:
    """Libraries quote what they read, and that is a patient's: see `gateway.logs`."""
    attribute("gateway.cli.quiet:quiet_logs")()
    attribute("gateway.logs:show_warning")(*args, **named)
