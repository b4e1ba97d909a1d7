"""YAML with the line of every key, so that a complaint can name the place. Duplicate keys are refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import SettingsError

Loc = tuple[str | int, ...]

_MAX_DEPTH = 20


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
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Lined:
    """Like `read`, from text; `name` is what complaints call it."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Loc, int] = {}
        tree = {} if node is None else _value(loader, node, (), lines, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SettingsError(f"{name}:{line}: this is not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{name}:1: this is not YAML: {error}") from error
    finally:
        loader.dispose()
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise SettingsError(f"{name}:1: a block of keys is expected, such as `gateway:`")
    return Lined(name, tree, lines)


def _value(loader: yaml.SafeLoader, node: yaml.Node, loc: Loc, lines: dict[Loc, int], name: str) -> Any:
    if len(loc) > _MAX_DEPTH:
        raise SettingsError(f"{name}:{node.start_mark.line + 1}: nested too deep")
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, loc, lines, name)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            lines[(*loc, index)] = item.start_mark.line + 1
            items.append(_value(loader, item, (*loc, index), lines, name))
        return items
    return loader.construct_object(node)


def _mapping(
    loader: yaml.SafeLoader, node: yaml.MappingNode, loc: Loc, lines: dict[Loc, int], name: str
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise SettingsError(f"{name}:{line}: a key must be a word")
        key = str(key_node.value)
        if key in out:
            raise SettingsError(f"{name}:{line}: {key!r} stands here a second time (line {lines[*loc, key]})")
        lines[*loc, key] = line
        out[key] = _value(loader, value_node, (*loc, key), lines, name)
    return out
