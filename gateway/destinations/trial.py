"""TRY a destination: is it there, and would it take what it is owed? In words for whoever has to mend it.

A DICOM peer is asked by C-ECHO, an association as films have it; of a web address only the connection is
tried, for a request would be a result to whoever gets it; a folder gets a file and loses it again; a
classifier is opened in a process of its own, so that this one loads no torch. Each has a deadline.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.destinations import scu, webhook
from gateway.errors import Busy, DeliveryError, Refused, SettingsError
from gateway.sandbox.parent import KEPT_ENVIRONMENT
from gateway.settings import (
    ClassifierDestination,
    DicomDestination,
    FolderDestination,
    Settings,
    WebhookDestination,
)
from gateway.settings.classifier import bundle_of
from gateway.upper_layer.association import TimedOut, Unwelcome
from models import plain_files
from models.classifiers import terms

DEADLINE_S = 20.0  # of one trial, name look-up included
CLASSIFIER_DEADLINE_S = 120.0
STEP_S = 5.0  # to connect, to negotiate, to answer
WAITS = "What is owed to it waits here and nothing is lost; other destinations go on."


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it: what happened, what it means for the films, what to do."""

    destination: str
    ok: bool
    what: str
    meaning: str
    advice: str = ""
    elapsed_ms: int = 0


def try_destination(name: str, settings: Settings, deadline_s: float | None = None) -> Trial:
    """Try one destination; it takes no longer than the deadline, whatever the network does."""
    block, began = settings.destinations[name], time.monotonic()
    longest_s = deadline_s or (
        CLASSIFIER_DEADLINE_S if isinstance(block, ClassifierDestination) else DEADLINE_S
    )
    trials: list[Trial] = []
    # What looks a name up cannot be told to hurry: so it has a thread, which is left behind.
    thread = threading.Thread(
        target=lambda: trials.append(_tried(name, settings, longest_s)), name=f"trial {name}", daemon=True
    )
    thread.start()
    thread.join(longest_s)
    trial = trials[0] if trials else _too_late(name, longest_s)
    return replace(trial, elapsed_ms=round(1000 * (time.monotonic() - began)))


def _tried(name: str, settings: Settings, longest_s: float) -> Trial:
    match settings.destinations[name]:
        case DicomDestination() as block:
            return _dicom(name, block, block.calling_ae_title or settings.gateway.ae_title)
        case WebhookDestination() as block:
            return _webhook(name, block)
        case FolderDestination() as block:
            return _folder(name, block)
        case ClassifierDestination() as block:
            return _classifier(name, bundle_of(block, name), longest_s)


def _too_late(name: str, longest_s: float) -> Trial:
    return Trial(
        name,
        ok=False,
        what=f"no result within {longest_s:g} s",
        meaning=WAITS,
        advice="Try again. If it stays so, look at the network's name service and firewall.",
    )


# A DICOM peer


def _dicom(name: str, block: DicomDestination, calling: str) -> Trial:
    peer = f"{block.ae_title} at {block.host}:{block.port}"
    try:
        result = scu.echo(
            block.host, block.port, block.ae_title, calling=calling, timeout_s=min(block.timeout_s, STEP_S)
        )
    except DeliveryError as error:
        what, advice = _in_words(error, block, calling)
        return Trial(name, ok=False, what=what, meaning=WAITS, advice=advice)
    except ValueError as error:
        return Trial(name, False, str(error), WAITS, "Correct its AE titles in the settings.")
    if not result.ok:
        return Trial(
            name,
            ok=False,
            what=f"{peer} takes our association and answers C-ECHO with status {result.status:#06x}",
            meaning=WAITS,
            advice="Ask whoever runs it: it says of itself that it cannot do its work.",
        )
    return Trial(
        name,
        ok=True,
        what=f"{peer} accepts us as {calling} and answers C-ECHO",
        meaning="Films can be sent. Whether it takes each kind of film shows with the first of that kind.",
    )


def _in_words(error: DeliveryError, block: DicomDestination, calling: str) -> tuple[str, str]:
    """What happened, and what to do."""
    cause, where = error.__cause__, f"{block.host}:{block.port}"
    if isinstance(error, Unwelcome):
        return (
            f"{where} answers, and rejects our association: {_last(error)}",
            (
                f"Have our AE title {calling} and this machine's address entered there, and see that its own "
                f"AE title is {block.ae_title}: upper and lower case count."
            ),
        )
    if isinstance(error, Busy):
        return (
            f"{where} answers, and has no association free now: {_last(error)}",
            "Nothing needs to be done if it passes; if not, it is too small for what is sent to it.",
        )
    if isinstance(error, Refused):
        return (
            f"{where} accepts our association, and does not take C-ECHO (Verification)",
            "It may take films all the same; the deliveries below say whether it does.",
        )
    if isinstance(cause, socket.gaierror | UnicodeError):
        return (
            f"no machine is called {block.host}",
            "Correct `host` in the settings, or have the name entered in the network's name service.",
        )
    if isinstance(cause, ConnectionRefusedError):
        return (
            f"the machine {block.host} is there, and nobody listens on port {block.port} (TCP refused)",
            "Start the receiver there, or correct `port` in the settings.",
        )
    if isinstance(error, TimedOut) or isinstance(cause, TimedOut):
        return (
            f"{where} takes the connection and says nothing",
            "Something listens there that is no DICOM receiver, or hangs: restart it, or correct `port`.",
        )
    if isinstance(cause, TimeoutError):
        return (
            f"{where} does not answer at all (timeout)",
            "The machine is off, or a firewall drops what we send: have the way from here to there opened.",
        )
    if isinstance(cause, OSError):
        return f"{where} cannot be reached: {cause.strerror or cause}", "Look at the network of this machine."
    return (
        f"{where} answers, but not as a DICOM receiver does: {_last(error)}",
        "Correct `port` in the settings; perhaps the receiver wants TLS.",
    )


def _last(error: DeliveryError) -> str:
    return str(error).rpartition("rejects the association: ")[2] or str(error)


# The others


def _webhook(name: str, block: WebhookDestination) -> Trial:
    try:
        where = webhook.reach(name, block, min(block.timeout_s, STEP_S))
    except (DeliveryError, SettingsError) as error:
        return Trial(
            name,
            ok=False,
            what=str(error),
            meaning=WAITS,
            advice="Look at its `url` and `ca_file`, and at the way from this machine to it.",
        )
    return Trial(
        name,
        ok=True,
        what=f"{where} can be reached; nothing was sent",
        meaning="Results can be sent. Whether it takes our token shows with the first result.",
    )


def _folder(name: str, block: FolderDestination) -> Trial:
    probe = block.path / f".filmgate-{secrets.token_hex(4)}.part"
    try:
        probe.write_bytes(b"\0")
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        return Trial(
            name,
            ok=False,
            what=f"the folder {block.path} cannot be written to: {(error.strerror or str(error)).lower()}",
            meaning=WAITS,
            advice="Make the folder, mount its disk, make room, or let the gateway's user write there.",
        )
    return Trial(name, True, f"the folder {block.path} can be written to", "Films can be sent.")


def _classifier(name: str, folder: Path, longest_s: float) -> Trial:
    lost = "What qualifies for it is not read; deliveries to it fail until it is repaired."
    advice = "Put the bundle back as it was, or name another one; `filmgate doctor` says which file is meant."
    try:
        card = terms.read(folder)
        found = plain_files.sha256_of(card.weights)
    except (OSError, terms.NoTerms) as error:
        return Trial(name, False, f"its bundle cannot be read: {error}", lost, advice)
    if found != card.weights_sha256:
        return Trial(name, False, "its weights are not the ones its card names", lost, advice)
    problem = _opened(folder, longest_s)
    if problem:
        return Trial(name, False, f"it does not load: {problem}", lost, advice)
    what = f"{card.name} {card.version} loads; its weights are those of its card ({found[:16]})"
    return Trial(name, True, what, "Films that qualify are read.")


def _opened(folder: Path, longest_s: float) -> str:
    """Why a classifier cannot be opened; "" when it can."""
    environment = {key: os.environ[key] for key in (*KEPT_ENVIRONMENT, "PYTHONPATH") if key in os.environ}
    command = [sys.executable, "-m", "gateway.sandbox.classifier_child", str(folder)]
    try:
        child = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=longest_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it was not ready after {longest_s:g} s"
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(child.stdout)["problem"])[:300]
    return f"the process that opened it ended with code {child.returncode}"
