"""ROUTE: where objects are sent. A new kind of destination is one file here and one line in `build`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from gateway.destinations.dicom import DicomDestination
from gateway.destinations.folder import FolderDestination
from gateway.destinations.webhook import WebhookDestination
from gateway.errors import SettingsError, Unreachable
from gateway.ledger.records import Delivery
from gateway.settings import DicomDestination as DicomSettings
from gateway.settings import FolderDestination as FolderSettings
from gateway.settings import WebhookDestination as WebhookSettings

__all__ = [
    "Destination",
    "DicomDestination",
    "FolderDestination",
    "LateDestination",
    "WebhookDestination",
    "build",
    "build_or_wait",
    "why_not",
]

log = structlog.get_logger()

Block = DicomSettings | FolderSettings | WebhookSettings


class Destination(Protocol):
    """Somebody who takes objects. `deliver` may be called from as many threads as `associations` says."""

    @property
    def name(self) -> str:
        """As in the settings."""

    @property
    def associations(self) -> int:
        """How many deliveries may be under way at the same time."""

    def deliver(self, path: Path, delivery: Delivery) -> None:
        """Hand over the file at `path`; return only when the destination has confirmed it.

        Raises:
            DeliveryError: it did not; the subclass says whether trying again can help.
        """

    def rest(self) -> None:
        """Nothing is owed for the moment: let go of what was open and idle for a while."""

    def close(self) -> None:
        """Let go of everything at once; a delivery under way in another thread breaks off."""


class LateDestination:
    """A destination that could not be built when its process started, as when a file that it names is gone.

    Each delivery builds it anew; until that can be done it fails like a peer that cannot be reached, so what
    is owed to it waits, is tried again by itself, and holds up nobody else.
    """

    associations = 1

    def __init__(self, name: str, make: Callable[[], Destination]) -> None:
        self.name = name
        self._make = make
        self._lock = threading.Lock()
        self._built: Destination | None = None

    def deliver(self, path: Path, delivery: Delivery) -> None:
        """
        Raises:
            Unreachable: it cannot be built now, either.
            DeliveryError: see Destination.
        """
        self._now().deliver(path, delivery)

    def rest(self) -> None:
        if self._built:
            self._built.rest()

    def close(self) -> None:
        if self._built:
            self._built.close()

    def _now(self) -> Destination:
        with self._lock:
            if self._built is None:
                try:
                    self._built = self._make()
                except Exception as error:  # whatever a library raises over a setting: see `_in_words`
                    raise Unreachable(f"it is closed: {_in_words(self.name, error)}") from error
                log.info("destination open", destination=self.name, meaning="it can be used now")
            return self._built


def build_or_wait(name: str, settings: Block, calling: str) -> Destination:
    """As `build`; one that cannot be built now is closed, says so in the log, and is tried again."""
    try:
        return build(name, settings, calling)
    except Exception as error:  # noqa: BLE001  one destination must never keep films from another
        log.error(
            "destination closed",
            destination=name,
            error=_in_words(name, error),
            meaning="its films are kept and wait, and it is tried again; other destinations go on",
        )
        return LateDestination(name, lambda: build(name, settings, calling))


def why_not(name: str, settings: Block, calling: str) -> str:
    """Why a destination cannot be built now; "" when it can. No connection is opened for that."""
    try:
        build(name, settings, calling).close()
    except Exception as error:  # noqa: BLE001  whatever a library raises over a setting
        return _in_words(name, error)
    return ""


def _in_words(name: str, error: Exception) -> str:
    """An error in words that quote no secret: those of a library may."""
    if isinstance(error, SettingsError):
        return str(error)
    return f"destinations.{name} cannot be used as it is set ({type(error).__name__})"


def build(name: str, settings: Block, calling: str) -> Destination:
    """The destination that a block of settings describes; `calling` is our AE title unless it has its own."""
    if isinstance(settings, FolderSettings):
        return FolderDestination(name, settings)
    if isinstance(settings, WebhookSettings):
        return WebhookDestination(name, settings)
    return DicomDestination(name, settings, calling)
