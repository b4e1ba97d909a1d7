"""Classifiers as destinations: which films they take. Loads no torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from gateway.settings import Accepts, ClassifierDestination
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
