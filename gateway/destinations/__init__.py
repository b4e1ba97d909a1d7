"""ROUTE: where objects are sent. A new kind of destination is one file here and one line in `build`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from gateway.destinations.dicom import DicomDestination
from gateway.destinations.folder import FolderDestination
from gateway.destinations.webhook import WebhookDestination
from gateway.ledger.records import Delivery
from gateway.settings import DicomDestination as DicomSettings
from gateway.settings import FolderDestination as FolderSettings
from gateway.settings import WebhookDestination as WebhookSettings

__all__ = ["Destination", "DicomDestination", "FolderDestination", "WebhookDestination", "build"]


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


def build(name: str, settings: DicomSettings | FolderSettings | WebhookSettings, calling: str) -> Destination:
    """The destination that a block of settings describes; `calling` is our AE title unless it has its own."""
    if isinstance(settings, FolderSettings):
        return FolderDestination(name, settings)
    if isinstance(settings, WebhookSettings):
        return WebhookDestination(name, settings)
    return DicomDestination(name, settings, calling)
