"""What `filmgate doctor` looks at around this machine: routes, and whether destinations answer."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.cli.upkeep.check import Check
from gateway.destinations import scu, webhook
from gateway.errors import DeliveryError, SettingsError
from gateway.settings import DicomDestination, FolderDestination, Settings, WebhookDestination
from gateway.supervisor import fitness


def routes(settings: Settings) -> Iterator[Check]:
    """What the settings name and is not there, and what keeps films from where they should go."""

    found = list(fitness.troubles(settings))
    if not any(trouble.words == fitness.NO_ARCHIVE for trouble in found):
        yield Check("archive", "ok", f"originals go to {', '.join(settings.routes.always)}")
    for trouble in found:
        what = "archive" if trouble.words == fitness.NO_ARCHIVE else "settings"
        yield Check(what, "error" if trouble.refused else "warning", trouble.words)


def destinations(settings: Settings) -> Iterator[Check]:
    for name, block in settings.destinations.items():
        what = f"destination {name}"
        match block:
            case FolderDestination():
                there = block.path.is_dir()
                detail = f"{block.path}" + ("" if there else " is not there yet")
                yield Check(what, "ok" if there else "warning", detail)
            case WebhookDestination():
                yield _webhook(what, name, block)
            case DicomDestination():
                yield _dicom(what, block, block.calling_ae_title or settings.gateway.ae_title)


def _dicom(what: str, block: DicomDestination, calling: str) -> Check:

    timeout_s = min(block.timeout_s, 5)
    try:
        scu.echo(block.host, block.port, block.ae_title, calling=calling, timeout_s=timeout_s)
    except DeliveryError as error:
        return Check(what, "warning", f"{error}; what is owed to it waits")
    return Check(what, "ok", f"{block.ae_title} at {block.host}:{block.port} answers C-ECHO")


def _webhook(what: str, name: str, block: WebhookDestination) -> Check:
    """A connection alone: a request would be a result to whoever gets it."""

    try:
        where = webhook.reach(name, block, min(block.timeout_s, 5))
    except DeliveryError as error:
        return Check(what, "warning", f"{error}; what is owed to it waits")
    except SettingsError as error:
        return Check(what, "error", str(error))
    return Check(what, "ok", f"{where} can be reached; nothing was sent")
