"""What is wrong with settings, in plain words, with the place where it was said."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from gateway.settings.destinations import KINDS
from gateway.settings.keys import known_keys
from gateway.settings.lined_yaml import Loc

_WORDS = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text (put it in quotes)",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "holds a character that is not allowed here",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "dict_type": "must be a block of keys",
    "model_type": "must be a block of keys",
    "model_attributes_type": "must be a block of keys",
    "literal_error": "must be {expected}",
    "union_tag_not_found": "must be a block of keys",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
}


def complaint(fault: ErrorDetails, origins: Mapping[Loc, str]) -> str:
    """One line: where the value was said, and what is wrong with it."""
    context = fault.get("ctx", {})
    tagged = tuple(context.get("loc", fault["loc"]))
    loc = _untagged(tagged)
    return f"{origin_of(origins, loc)}: {_sentence(fault, tagged, loc)}"


def _sentence(fault: ErrorDetails, tagged: Loc, loc: Loc) -> str:
    key = ".".join(str(step) for step in loc) or "the configuration"
    context = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            known = sorted(known_keys(tagged[:-1]))
            close = get_close_matches(str(loc[-1]), known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(known)}"
            block = f" in {'.'.join(map(str, loc[:-1]))}" if loc[:-1] else ""
            return f"unknown key {loc[-1]!r}{block}{hint}"
        case "missing":
            return f"{key} is missing"
        case "union_tag_invalid":
            kinds = f"{', '.join(map(repr, KINDS[:-1]))} or {KINDS[-1]!r}"
            return f"{key}.kind must be {kinds}, not {context.get('tag')!r}"
        case "misrouted":
            return fault["msg"]
        case "value_error":
            return f"{key}: {context.get('error', fault['msg'])}"
        case kind:
            words = _WORDS.get(kind, fault["msg"]).format_map({**context})
            return f"{key} {words}{_value_shown(loc, fault['input'])}"


def _value_shown(loc: Loc, value: Any) -> str:
    """A single value that is surely no secret: an address that stands in the wrong place may hold one."""
    if (loc and loc[-1] in ("url", "token", "header", "password")) or isinstance(value, dict | list | tuple):
        return ""
    text = repr(value)
    if "://" in text or "@" in text:
        return ""
    return f", not {text}" if len(text) <= 40 else ""


def _untagged(loc: Loc) -> Loc:
    """Without the steps that pydantic puts in: the kind of a destination, and the mark of a key."""
    loc = tuple(step for step in loc if step != "[key]")
    if len(loc) > 2 and loc[0] == "destinations" and loc[2] in KINDS:
        return (*loc[:2], *loc[3:])
    return loc


def origin_of(origins: Mapping[Loc, str], loc: Loc) -> str:
    """Where a value was said: at its own key, or at the nearest block around it that has an origin."""
    while loc and loc not in origins:
        loc = loc[:-1]
    return origins.get(loc, "default")


def dotted(loc: Loc) -> str:
    """`gateway.port`, in ASCII: a key may hold any character."""
    return ascii(".".join(map(str, loc)))[1:-1]
