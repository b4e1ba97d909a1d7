"""YAML with the line of every key, so that a complaint can name the place. Duplicate keys are refused.

What is read is text that people wrote, or that a broken disk or editor left: nothing in it raises anything
but YamlError, takes long, or grows. No value is quoted in a complaint, for it may be a secret: so PyYAML's
own errors, which do quote, are not chained either.
"""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

Loc = tuple[str | int, ...]

MAX_DEPTH = 20
MOST_VALUES = 50_000  # aliases counted as often as they are used
MOST_LETTERS = 1 << 21
_MERGE = "tag:yaml.org,2002:merge"  # `<<`
_MEANT = {"int": "a whole number", "float": "a number", "timestamp": "a date", "bool": "true or false"}


class YamlError(ValueError):
    """Raised when a text cannot be used as YAML; `line` counts from 1, `words` say why."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(f"line {line}: {words}")
        self.line = line
        self.words = words


@dataclass(frozen=True, slots=True)
class Tree:
    """A YAML document: plain values, and the line of every key and list item by its path."""

    value: Any  # None for an empty document
    lines: dict[Loc, int]


def parse(text: str) -> Tree:
    """
    Raises:
        YamlError: this is not YAML, has a key twice, or is nested or repeated beyond reason.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise YamlError(line, f"this is not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        words = f"this is not YAML: it holds the character U+{ord(text[error.position]):04X}"
        raise YamlError(line, words) from None
    except yaml.YAMLError:
        raise YamlError(1, "this is not YAML") from None
    walk = _Walk(loader)
    return Tree(None if node is None else walk.value(node, ()), walk.lines)


def unfit_character(text: str) -> str:
    """A control character or half of a pair, which no name, path or word can hold, as `U+0000`; else ""."""
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\t\n\r\x85":
            return f"U+{ord(letter):04X}"
    return ""


class _Loader(yaml.SafeLoader):
    """Refuses deep nesting while it reads, before that costs time and stack."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            raise YamlError(self.line + 1, "nested too deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Walk:
    """From nodes to values, counting them: aliases of aliases grow without end."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.lines: dict[Loc, int] = {}
        self._loader = loader
        self._values = 0
        self._letters = 0
        self._merging = 0  # blocks, one inside the other

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        self._count(node)
        if len(loc) > MAX_DEPTH:
            raise YamlError(_line(node), "nested too deep")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*loc, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _count(self, node: yaml.Node) -> None:
        self._values += 1
        self._letters += len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        if self._values > MOST_VALUES or self._letters > MOST_LETTERS:
            raise YamlError(_line(node), "too many values: do aliases (`*name`) repeat one another?")

    def _item(self, node: yaml.Node, loc: Loc) -> Any:
        self.lines[loc] = _line(node)
        return self.value(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        out: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(line, "a key must be a word")
            if key_node.tag == _MERGE:
                merged = {**self._merged(value_node, loc), **merged}
                continue
            key = _whole(key_node.value)
            if key in out:
                first = self.lines[*loc, key]  # YAML would silently keep the last of them
                raise YamlError(line, f"{key!r} stands here a second time (line {first})")
            self._fits(key, line)
            self.lines[*loc, key] = line
            out[key] = self.value(value_node, (*loc, key))
        return {**merged, **out}

    def _merged(self, node: yaml.Node, loc: Loc) -> dict[str, Any]:
        """What `<<: *name` takes over (yaml.org/type/merge): the first of several wins, own keys always."""
        blocks = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(block, yaml.MappingNode) for block in blocks):
            raise YamlError(_line(node), "`<<` takes over the keys of blocks, and this is none")
        self._merging += 1
        if self._merging > MAX_DEPTH:
            raise YamlError(_line(node), "nested too deep")
        taken: dict[str, Any] = {}
        for block in reversed(blocks):
            self._count(block)
            before = dict(self.lines)
            taken |= self._mapping(block, loc)
            self.lines |= before  # a key's own line, where it has one
        self._merging -= 1
        return taken

    def _scalar(self, node: yaml.Node) -> Any:
        line = _line(node)
        kind = node.tag.rpartition(":")[2]
        try:
            value = self._loader.construct_object(node)
        except yaml.MarkedYAMLError as error:
            raise YamlError(line, f"this is not YAML: {error.problem or error.context}") from None
        # PyYAML's constructors let pass what Python's types raise.
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
            meant = _MEANT.get(kind, "one")
            raise YamlError(line, f"looks like {meant} and is none; text stands in quotes") from None
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise YamlError(line, "this number is too large")
        if isinstance(value, str):
            value = _whole(value)
            self._fits(value, line)
        return value

    def _fits(self, text: str, line: int) -> None:
        if letter := unfit_character(text):
            raise YamlError(line, f"holds the character {letter}, which cannot be used")


def _whole(text: str) -> str:
    """JSON writes a character beyond U+FFFF as two halves (RFC 8259 section 7), which YAML leaves apart."""
    with suppress(UnicodeError):  # half of a pair
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    return text


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1
