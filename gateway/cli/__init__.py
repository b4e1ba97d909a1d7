"""The command `filmgate`. Only this package prints.

Exit codes: 0 all as asked, 1 something was not, 2 the command line or the configuration cannot be used.
Heavy modules (pynetdicom, Celery, torch) are imported inside the commands that need them: `films list` is
polled, and must not wait for a network library.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer

from gateway.cli import (
    backup,
    classify,
    config,
    deliveries,
    demo,
    doctor,
    films,
    options,
    quarantine,
    serve,
    transfer,
)
from gateway.cli.lab import classifiers, judging, models, regions, training
from gateway.cli.output import complain
from gateway.errors import FilmgateError, SettingsError
from gateway.process import private, standard_streams

app = typer.Typer(
    name="filmgate",
    help="A DICOM gateway for radiography that looks at the pixels before it routes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(serve.up)
app.command()(serve.listen)
app.command()(serve.dispatch)
app.command()(serve.work)
app.command()(transfer.send)
app.command()(transfer.echo)
app.add_typer(films.app, name="films")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(config.app, name="config")
app.command()(doctor.doctor)
app.command()(doctor.fsck)
app.command()(backup.backup)
app.command()(backup.restore)
training.train_app.command("classifier")(classifiers.train)
training.train_app.command("lessons")(classifiers.lessons)
app.add_typer(training.train_app, name="train")
app.command()(training.rounds)
app.command()(training.calibrate)
training.evaluate_app.command("classifier")(judging.classifier)
training.evaluate_app.command("robustness")(judging.robustness)
app.add_typer(training.evaluate_app, name="evaluate")
app.add_typer(regions.app, name="region")
app.command()(classify.classify)
app.add_typer(models.app, name="models")
app.command()(demo.demo)


def main() -> None:
    """Run a command; an error of ours is told in words, without a traceback."""
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
    from gateway import logs

    options.quiet_logs()
    logs.show_warning(*args, **named)
