"""YAML files of settings: what is wrong with one is said with its name and line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import SettingsError
from models import plain_files
from pipelines import lined_yaml
from pipelines.lined_yaml import Loc, YamlError

__all__ = ["Lined", "Loc", "parse", "read", "text_of"]


@dataclass(frozen=True, slots=True)
class Lined:
    """A YAML document: plain values, and the line of every key and list item by its path."""

    name: str
    tree: dict[str, Any]
    lines: dict[Loc, int]


def read(path: Path) -> Lined:
    """Read a YAML file whose top level is a block of keys.

    Raises:
        SettingsError: it cannot be read, is not YAML, is no block of keys or has a key twice.
    """
    return parse(text_of(path), str(path))


def parse(text: str, name: str) -> Lined:
    """Like `read`, from text; `name` is what complaints call it."""
    try:
        tree = lined_yaml.parse(text)
    except YamlError as error:
        raise SettingsError(f"{name}:{error.line}: {error.words}") from error
    value = {} if tree.value is None else tree.value
    if not isinstance(value, dict):
        raise SettingsError(f"{name}:1: a block of keys is expected, such as `gateway:`")
    return Lined(name, value, tree.lines)


def text_of(path: Path) -> str:
    """The text of a regular file of at most 1 MiB.

    Raises:
        SettingsError: it is not there, is something else, or is not UTF-8.
    """
    try:
        data = plain_files.read_bytes(path)
        return data.decode("utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = f"it is not UTF-8 (byte 0x{data[error.start]:02X})"
        raise SettingsError(f"{path}:{line}: cannot be read: {why}") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
