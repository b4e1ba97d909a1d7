"""Classifiers as destinations: which films they take. Loads no torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gateway.settings import ClassifierDestination
from models.classifiers import terms
from models.classifiers.accepts import Accepts
from pipelines.policy import Acceptance


def acceptance(block: ClassifierDestination, name: str) -> Acceptance:
    """What a classifier takes: its card says it, where the settings do not.

    Of a card that cannot be read nothing is known: it is owed the films that most classifiers take, so that
    people see them fail.
    """
    of_card: Accepts | None = None
    with suppress(terms.NoTerms):
        of_card = terms.read(bundle_of(block, name)).accepts
    of_settings = block.accepts.model_dump(exclude_unset=True) if block.accepts else {}
    return Acceptance.of(of_card or Accepts(), **of_settings)


def bundle_of(block: ClassifierDestination, name: str) -> Path:
    """The folder of its bundle."""
    return terms.folder(block.bundle or name)
