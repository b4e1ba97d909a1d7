"""Classifiers as destinations: which films they take, and whether they may be used at all. Loads no torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from gateway.errors import SettingsError
from gateway.settings import Accepts, ClassifierDestination, Settings
from models.classifiers import terms
from pipelines.policy import Acceptance


def acceptance(block: ClassifierDestination, name: str) -> Acceptance:
    """What a classifier takes: its card says it, where the settings do not.

    Of a card that cannot be read nothing is known: it is owed the films that most classifiers take, so that
    people see them fail.
    """
    told = block.accepts.model_dump(exclude_unset=True) if block.accepts else {}
    with suppress(terms.NoTerms, ValidationError):
        card = Accepts.model_validate(terms.read(bundle_of(block, name)).accepts)
        return Acceptance(**{**card.model_dump(), **told})
    return Acceptance(**told)


def bundle_of(block: ClassifierDestination, name: str) -> Path:
    """The folder of its bundle."""
    return terms.folder(block.bundle or name)


def check(settings: Settings) -> None:
    """
    Raises:
        SettingsError: a classifier is used that its card has switched off, and nobody switched it on.
    """
    for name, block in settings.classifiers.items():
        with suppress(terms.NoTerms):
            if terms.read(bundle_of(block, name)).off and not block.on:
                raise SettingsError(
                    f"destinations.{name}: this classifier is off unless somebody wants it; its card tells "
                    "why. If you do, say `on: true`"
                )
