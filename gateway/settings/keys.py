"""The keys of the settings, as the schema has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.settings.destinations import KINDS
from gateway.settings.lined_yaml import Loc
from gateway.settings.schema import Settings

_MANY: dict[Any, str] = {dict: ".NAME.", tuple: "[]."}


def keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key there is, dotted, with its field: `gateway.allow[].from`, `destinations.NAME.port`."""
    for name, info in model.model_fields.items():
        path = prefix + (info.alias or name)
        inner = _blocks_in(info.annotation)
        if not inner:
            yield path, info
        many = _MANY.get(get_origin(info.annotation), ".")
        for block in inner:
            yield from keys(block, path + many)


def known_keys(loc: Loc) -> set[str]:
    """The keys of the block at `loc`."""
    models: tuple[type[BaseModel], ...] = (Settings,)
    for step in loc:
        fields = [f for m in models for name, f in m.model_fields.items() if step == (f.alias or name)]
        if fields:
            models = tuple(dict.fromkeys(model for f in fields for model in _blocks_in(f.annotation)))
        elif step in KINDS:
            models = tuple(m for m in models if m.model_fields["kind"].default == step)
    return {info.alias or name for model in models for name, info in model.model_fields.items()}


def _blocks_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(model for part in get_args(annotation) for model in _blocks_in(part))
