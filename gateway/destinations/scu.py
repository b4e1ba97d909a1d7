"""The SCU of `filmgate send` and `filmgate echo`: C-STORE of files as they are, C-ECHO (PS3.7 9.1)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from gateway.destinations.dicom import OutOfResources, judge, status_text
from gateway.errors import DeliveryError, FilmgateError, Refused
from gateway.upper_layer.association import Association, Interrupted, Target
from gateway.upper_layer.dimse import VERIFICATION
from gateway.upper_layer.requestor import MAX_CONTEXTS, Proposal
from pipelines.instance.first_elements import (
    EXPLICIT_LITTLE_ENDIAN,
    GROUP_2_AT,
    LAST_OF_GROUP_2,
    MEDIA_SOP_CLASS,
    MEDIA_SOP_INSTANCE,
    SOP_CLASS,
    SOP_INSTANCE,
    TRANSFER_SYNTAX,
    elements,
    encoding_of,
    files_below,
    has_prefix,
)

CALLING = "FILMGATE"

_AHEAD = 256  # files looked at before they are sent, so that one association has contexts for all of them
_HEAD_BYTES = 64 << 10  # SOP class and instance stand at a dataset's beginning
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_UID = re.compile(r"[0-9.]{1,64}")
_TARGET = re.compile(
    r"(?P<ae_title>[^@\\\s](?:[^@\\]{0,14}[^@\\\s])?)@(?P<host>\[[^\]]+\]|[^:@\s\[\]]+):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True, slots=True)
class EchoResult:
    """A C-ECHO that was answered."""

    status: int
    elapsed_ms: float  # negotiation, C-ECHO and its response

    @property
    def ok(self) -> bool:
        return self.status == 0


@dataclass(frozen=True, slots=True)
class SentResult:
    """The outcome for one file. `text` is for people; `status` is None when there was no response."""

    path: Path
    sop_instance_uid: str
    status: int | None
    text: str
    ok: bool


@dataclass(frozen=True, slots=True)
class _Object:
    """A file that holds a DICOM object."""

    path: Path
    sop_class: str
    sop_instance: str
    syntax: str
    offset: int

    @property
    def proposal(self) -> Proposal:
        return Proposal(self.sop_class, (self.syntax,))


class NotDicom(FilmgateError):
    """Raised when a file holds nothing that C-STORE could send."""


def parse_target(text: str) -> Target:
    """AET@HOST:PORT.

    Raises:
        FilmgateError: it is not of this form.
    """
    match = _TARGET.fullmatch(text)
    if not match or not 0 < int(match["port"]) < 65536:
        raise FilmgateError(f"{text!r} names no peer. Write AET@HOST:PORT, for example ARCHIVE@10.0.0.7:104")
    return Target(match["ae_title"], match["host"].strip("[]"), int(match["port"]))


def echo(
    host: str, port: int, ae_title: str, *, calling: str = CALLING, timeout_s: float = 10.0
) -> EchoResult:
    """Associate and C-ECHO.

    Raises:
        DeliveryError: no association, or no response.
    """
    began = time.monotonic()
    proposal = Proposal(VERIFICATION, (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)))
    association = Association.request(Target(ae_title, host, port), calling, [proposal], timeout_s)
    context = association.accepted(proposal)
    if not context:
        association.release()
        raise Refused("the peer answers, but does not take C-ECHO (Verification)")
    status = association.echo(context.context_id).status
    elapsed_ms = (time.monotonic() - began) * 1000
    association.release()
    return EchoResult(status, elapsed_ms)


def send(
    paths: Iterable[Path],
    host: str,
    port: int,
    ae_title: str,
    *,
    calling: str = CALLING,
    timeout_s: float = 30.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[SentResult]:
    """C-STORE every file, and every file below every folder, with its own bytes and transfer syntax.

    One file's failure does not keep the next from being sent. `on_progress` gets files done and files in all.
    """
    files = list(_files(paths))
    sender = _Sender(Target(ae_title, host, port), calling, timeout_s)
    done = 0
    rest = iter(files)
    try:
        while ahead := list(islice(rest, _AHEAD)):
            for result in sender.send([_looked_at(path) for path in ahead]):
                done += 1
                if on_progress:
                    on_progress(done, len(files))
                yield result
    finally:
        sender.close()


class _Sender:
    """One association at a time; a new one when a context is missing, or when the last one broke."""

    def __init__(self, target: Target, calling: str, timeout_s: float) -> None:
        self._target = target
        self._calling = calling
        self._timeout_s = timeout_s
        self._association: Association | None = None
        self._out_of_reach: DeliveryError | None = None

    def send(self, items: Sequence[_Object | SentResult]) -> Iterator[SentResult]:
        """Results in the order of `items`; what is a result already stays one."""
        objects = [item for item in items if isinstance(item, _Object)]
        for item in items:
            if isinstance(item, SentResult):
                yield item
            else:
                yield self._send(item, objects)
                objects.pop(0)

    def close(self) -> None:
        if self._association:
            self._association.release()
            self._association = None

    def _send(self, item: _Object, ahead: Sequence[_Object]) -> SentResult:
        try:
            return self._stored(item, ahead)
        except (DeliveryError, OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return SentResult(item.path, item.sop_instance, None, text, ok=False)

    def _stored(self, item: _Object, ahead: Sequence[_Object]) -> SentResult:
        association = self._for(item, ahead)
        context = association.accepted(item.proposal)
        if not context:
            name = UID(item.sop_class).name
            raise Refused(f"the peer takes no {name} in {UID(item.syntax).name}; nothing was sent")
        try:
            with item.path.open("rb") as file:
                file.seek(item.offset)
                response = association.store(file, context.context_id, item.sop_class, item.sop_instance)
        except (Interrupted, OSError):
            if not association.is_open:
                self._association = None
            raise
        try:
            judge(response)
        except (Refused, OutOfResources) as error:
            return SentResult(item.path, item.sop_instance, response.status, str(error), ok=False)
        return SentResult(item.path, item.sop_instance, response.status, status_text(response), ok=True)

    def _for(self, item: _Object, ahead: Sequence[_Object]) -> Association:
        if self._association and self._association.knows(item.proposal) and self._association.alive():
            return self._association
        self.close()
        if self._out_of_reach:  # a thousand files need not wait for a thousand timeouts
            raise self._out_of_reach
        proposals = list(dict.fromkeys(one.proposal for one in (item, *ahead)))[:MAX_CONTEXTS]
        try:
            self._association = Association.request(self._target, self._calling, proposals, self._timeout_s)
        except DeliveryError as error:
            self._out_of_reach = error
            raise
        return self._association


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as named, and those below folders."""
    for path in paths:
        if path.is_dir():
            yield from files_below(path)
        else:
            yield path


def _looked_at(path: Path) -> _Object | SentResult:
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except NotDicom as error:
        return SentResult(path, "", None, f"{error}; nothing was sent", ok=False)
    except OSError as error:
        text = f"cannot be read: {(error.strerror or str(error)).lower()}; nothing was sent"
        return SentResult(path, "", None, text, ok=False)


def _read(path: Path, file: BinaryIO) -> _Object:
    """Group 2 where there is one (PS3.10 section 7), and the dataset's own UIDs, which are what counts.

    Raises:
        NotDicom: there is no object in it.
    """
    head = file.read(_HEAD_BYTES)
    offset, meta = GROUP_2_AT if has_prefix(head) else 0, dict[int, str]()
    for element in elements(head, offset, EXPLICIT_LITTLE_ENDIAN, last=LAST_OF_GROUP_2):
        meta[element.tag], offset = element.text(head), element.end
    if head[offset : offset + 2] == b"\2\0":
        raise NotDicom("not DICOM: its File Meta group is cut off, or far too long")
    syntax = meta.get(TRANSFER_SYNTAX, "") or _guessed_syntax(head[offset:])
    own: dict[int, str] = {}
    if syntax != DeflatedExplicitVRLittleEndian:
        first = elements(head, offset, encoding_of(syntax), last=SOP_INSTANCE)
        own = {element.tag: element.text(head) for element in first}
    sop_class = own.get(SOP_CLASS) or meta.get(MEDIA_SOP_CLASS, "")
    sop_instance = own.get(SOP_INSTANCE) or meta.get(MEDIA_SOP_INSTANCE, "")
    if _MEDIA_DIRECTORY in (sop_class, meta.get(MEDIA_SOP_CLASS)):
        raise NotDicom("no object to send: a DICOMDIR names objects and is none")
    if not all(_UID.fullmatch(uid) for uid in (sop_class, sop_instance, syntax)):
        if not syntax:
            raise NotDicom("not DICOM: no DICM prefix, and no object without one either")
        raise NotDicom("no object to send: a SOP class or SOP instance UID is missing, or is no UID")
    return _Object(path, sop_class, sop_instance, syntax, offset)


def _guessed_syntax(dataset: bytes) -> str:
    """Of a file without group 2: only one that begins with group 8 is taken for DICOM."""
    if dataset[:2] != b"\x08\0" or dataset[3:4] != b"\0":
        return ""
    explicit = dataset[4:6].isalpha() and dataset[4:6].isupper()
    return str(ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian)
