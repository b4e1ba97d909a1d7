"""A group of commands that loads the module of a command only when that command is asked for.

`filmgate --help` needs names and one-line helps alone, and `filmgate films list` must not wait for torch.
`gateway.cli.commands` says where each command is; what else is loaded late goes through `attribute`.
"""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from gateway.cli.options import Common
from gateway.errors import FilmgateError

# What the extra `train` brings, and only commands of the laboratory import.
TRAINING = ("matplotlib", "scipy", "sklearn")


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Args:
        target: the function, as "module:name".
        help: the first paragraph of its docstring; a test compares them.
        first: the value of its first parameter, where the command's own name gives that (`train rotation`);
            the help here is then all there is.
    """

    name: str
    target: str
    help: str
    first: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Commands under one name."""

    name: str
    help: str
    commands: tuple[Command | Group, ...]


class Lazy(TyperCommand):
    """What stands for a command until it is asked for: its name and its help."""

    def __init__(self, entry: Command) -> None:
        super().__init__(entry.name, help=entry.help)
        self.entry = entry

    def loaded(self) -> Any:
        """The command itself, with all its options."""
        entry, function = self.entry, attribute(self.entry.target)
        if entry.first is not None:
            function = functools.partial(function, entry.first)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(entry.name, help=entry.help if entry.first else inspect.getdoc(function))(
            _plain(function)
        )
        command = get_command(alone)
        pass_over_what_is_not_given(command.params)
        return command


class LazyGroup(TyperGroup):
    """Shows its commands without loading them, and loads the one that is run."""

    def add(self, entries: tuple[Command | Group, ...]) -> LazyGroup:
        """Itself, with these commands and groups in it."""
        for entry in entries:
            self.commands[entry.name] = _group(entry) if isinstance(entry, Group) else Lazy(entry)
        return self

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if isinstance(command, Lazy):
            command = command.loaded()
            collect_garbage_again()
        return name, command, rest


def pass_over_what_is_not_given(parameters: Iterable[Any]) -> None:
    """Have options without a value convert nothing: typer builds a pydantic model for each that does."""
    for parameter in parameters:
        if not parameter.required:
            parameter.process_value = functools.partial(_if_given, parameter.process_value)


def _if_given(process: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    return None if value is None else process(context, value)


def _group(entry: Group) -> LazyGroup:
    return LazyGroup(name=entry.name, help=entry.help, no_args_is_help=True).add(entry.commands)


def attribute(target: str) -> Any:
    """What "module:name" names; its module is imported for that.

    Raises:
        FilmgateError: the extra `train` is not installed, and the module needs it.
    """
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in TRAINING:
            raise
        raise FilmgateError(
            f"this command needs more packages: there is no {error.name}. Nothing was done. "
            "pip install 'filmgate[train]'."
        ) from error


def collect_garbage_again() -> None:
    """End a pause of garbage collection, and pass over all that was made in it.

    What modules make stays: to look for garbage among it while they load, and once more when the process
    ends, would take half the time of `films list`.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _plain(function: Callable[..., None]) -> Callable[..., None]:
    """A function whose parameters are the options themselves: each field of a frozen value is one of its own.

    Options of Common, which every command has, come last.
    """
    values, options = dict[str, type](), list[inspect.Parameter]()
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        annotation = parameter.annotation
        if isinstance(annotation, type) and is_dataclass(annotation):
            values[parameter.name] = annotation
        else:
            options.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    for value in sorted(values.values(), key=lambda value: value is Common):
        options += _fields(value)

    def command(**given: Any) -> None:
        whole = {
            name: value(**{field.name: given.pop(field.name) for field in fields(value)})
            for name, value in values.items()
        }
        function(**whole, **given)

    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return command


def _fields(value: type) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(value, include_extras=True)
    for field in fields(value):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
        )
