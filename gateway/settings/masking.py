"""The settings as people may see them: with their secrets masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.settings.lined_yaml import Loc
from gateway.settings.schema import Settings

# The schemes that a header may name before its token: another word there may be the token itself.
_SCHEMES = frozenset({"", "basic", "bearer", "token", "apikey", "api-key", "key", "oauth", "digest"})


def values(settings: Settings) -> Iterator[tuple[Loc, Any]]:
    """Every effective value with its path; tokens, passwords and queries of URLs are masked."""

    def walk(value: Any, loc: Loc) -> Iterator[tuple[Loc, Any]]:
        if isinstance(value, dict) and value:
            for key, item in value.items():
                yield from walk(item, (*loc, key))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, item in enumerate(value):
                yield from walk(item, (*loc, index))
        else:
            yield loc, _masked(loc, value)

    yield from walk(settings.model_dump(mode="json", by_alias=True), ())


def _masked(loc: Loc, value: Any) -> Any:
    if loc[-1] in ("token", "password"):
        return "***" if value else value
    if loc[-1] == "header":
        name, colon, scheme = value.partition(":")
        return value if scheme.strip().lower() in _SCHEMES else f"{name}{colon} ***"
    return _masked_url(value) if isinstance(value, str) and "://" in value else value


def _masked_url(url: str) -> str:
    """Without a password and without a query: keys are often part of it.

    A password may hold any letter, `?` and `@` among them: before the last `@` a name alone is shown.
    """
    scheme, _, rest = url.partition("://")
    login, at, rest = rest.rpartition("@")
    place, query, _ = rest.partition("?")
    user = re.split(r"[:/?#]", login, maxsplit=1)[0]
    return f"{scheme}://{f'{user}:***@' if at else ''}{place}{'?***' if query else ''}"
