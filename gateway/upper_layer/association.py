"""A requestor's association (PS3.8 sections 7 and 9): negotiate, C-STORE and C-ECHO, release.

pynetdicom's codecs say what PDUs and messages mean. Its requestor is not used: it decodes and encodes each
dataset anew (the archive would not get what the modality sent), cuts it up in Python and answers in steps of
its reactor. Here the calling thread writes the file's own bytes as P-DATA-TF PDUs, many to a system call.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from gateway.errors import Blame, Busy, Rejected, Trouble, Unreachable
from gateway.upper_layer.dimse import Response, c_echo_rq, c_store_rq, command_fragments, response
from gateway.upper_layer.pdu import HEADER, RELEASE_RP, RELEASE_RQ, BadPdu, PduType, abort, p_data
from gateway.upper_layer.requestor import Answer, Proposal, associate_ac, associate_rj, associate_rq

SLOWEST_BYTES_S = 16 << 10  # a peer that takes less is treated as hanging
MAX_PDU = 64 << 10  # what we offer to take; responses are a few hundred bytes
_MAX_ANSWER = 1 << 20  # of an A-ASSOCIATE-AC; 128 contexts need some 16 KB
_MAX_FRAGMENT = 256 << 10  # of what we send, when the peer takes any length
_BLOCK = 1 << 20  # read and sent at a time: memory does not grow with the object
_MOST_PDUS = 500  # of one system call: IOV_MAX is 1024, and each PDU is a header and a fragment
_RELEASE_S = 2.0


class Interrupted(Unreachable):
    """Raised when the association broke while an object was on its way; the object may be the cause."""

    blame = Blame.UNSURE
    trouble = Trouble.INTERRUPTED


class Unwelcome(Rejected):
    """Raised when the peer rejects our association, whatever the object.

    "Permanent" as this may be called in the Standard, it ends when somebody enters our AE title in the
    peer's table; parking film after film until then would only make work for people.
    """

    blame = Blame.DESTINATION
    trouble = Trouble.ASSOCIATION_REJECTED


class TimedOut(Interrupted):
    """Raised when the peer stood still, or took the object too slowly."""

    trouble = Trouble.TIMED_OUT


@dataclass(frozen=True, slots=True)
class Target:
    """A peer to associate with."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


class Association:
    """One open association. Used by one thread at a time; only `sever` may come from another.

    `timeout_s` is the longest silence: while connecting, while negotiating, and while a response is awaited.
    """

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._socket = sock
        self._timeout_s = timeout_s
        self._answers: dict[Proposal, Answer | None] = {}
        self._fragment = _MAX_FRAGMENT
        self._message_id = 0
        self._open = True
        self.used_at = time.monotonic()

    @classmethod
    def request(
        cls, target: Target, calling: str, proposals: Sequence[Proposal], timeout_s: float
    ) -> Association:
        """Connect and negotiate.

        Raises:
            Unreachable: no connection, no answer, or no DICOM answer.
            Busy: rejected for now.
            Unwelcome: rejected for good.
            ValueError: a UID or AE title that is none.
        """
        wanted = associate_rq(calling, target.ae_title, proposals, MAX_PDU)
        association = cls(_connected(target, timeout_s), timeout_s)
        try:
            association._negotiate(wanted, proposals)
        except Interrupted as error:  # no object was on its way yet
            association.close()
            raise Unreachable(f"no association: {error}") from error
        except BaseException:
            association.close()
            raise
        return association

    def knows(self, proposal: Proposal) -> bool:
        """Whether this was proposed here, accepted or not."""
        return proposal in self._answers

    def accepted(self, proposal: Proposal) -> Answer | None:
        """The context that the peer accepted for a proposal."""
        return self._answers.get(proposal)

    def store(self, file: BinaryIO, context_id: int, sop_class: str, sop_instance: str) -> Response:
        """C-STORE (PS3.7 section 9.1.1) of everything from `file`'s position to its end, byte for byte.

        One NUL follows when that is an odd number of bytes, as after a deflated dataset (PS3.5 A.5).

        Raises:
            Interrupted: the association broke (TimedOut: the peer hung) before the response.
            OSError: the file cannot be read; the association is aborted.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        command = c_store_rq(self._message_id, sop_class, sop_instance)
        sent = False
        try:
            self._send_message(context_id, command, file)
            sent = True
            return self._response()
        except Interrupted as error:
            error.unanswered = sent
            self.abort()
            raise
        except BaseException:
            self.abort()
            raise

    def echo(self, context_id: int) -> Response:
        """C-ECHO (PS3.7 section 9.1.5).

        Raises:
            Interrupted: the association broke (TimedOut: the peer hung) before the response.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        try:
            self._send(self._fragments(context_id, memoryview(c_echo_rq(self._message_id)), command=True))
            return self._response()
        except BaseException:
            self.abort()
            raise

    def alive(self) -> bool:
        """Whether nothing came from the peer while the association was idle.

        Whatever comes then is its end: A-RELEASE-RQ, A-ABORT, or the connection's.
        """
        if self._open and not self._readable(0.0):
            return True
        with suppress(Interrupted, OSError):
            if self._open and self._receive(0.1, MAX_PDU)[0] == PduType.RELEASE_RQ:
                self._socket.sendall(RELEASE_RP)
        self.close()
        return False

    @property
    def is_open(self) -> bool:
        return self._open

    def release(self, within_s: float = _RELEASE_S) -> None:
        """A-RELEASE (PS3.8 section 7.2); a peer that does not answer in time is left."""
        with suppress(Interrupted, OSError):
            if self._open:
                self._socket.settimeout(within_s)
                self._socket.sendall(RELEASE_RQ)
                self._receive(within_s, MAX_PDU)
        self.close()

    def abort(self) -> None:
        """A-ABORT (PS3.8 section 7.3), as far as the peer still takes bytes."""
        with suppress(OSError):
            if self._open:
                self._socket.setblocking(False)
                self._socket.send(abort())
        self.close()

    def sever(self) -> None:
        """End the connection; a thread that waits in it wakes up with Interrupted, and closes."""
        self._open = False
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection and free the socket: only for the thread that uses it."""
        self.sever()
        self._socket.close()

    def _negotiate(self, wanted: bytes, proposals: Sequence[Proposal]) -> None:
        self._send([wanted])
        kind, body = self._receive(self._timeout_s, _MAX_ANSWER)
        try:
            rejected = associate_rj(body) if kind == PduType.ASSOCIATE_RJ else None
            answer = associate_ac(body) if kind == PduType.ASSOCIATE_AC else None
        except BadPdu as error:
            raise Unreachable(f"the peer's answer is not DICOM: {error}") from error
        if rejected is not None:
            for_good, reason_text = rejected
            text = f"the peer rejects the association: {reason_text}"
            raise Unwelcome(text) if for_good else Busy(text)
        if answer is None:
            raise Unreachable(_ended(kind, body))
        for number, proposal in enumerate(proposals):
            given = answer.answers.get(2 * number + 1)
            taken = given is not None and given.transfer_syntax in proposal.transfer_syntaxes
            self._answers[proposal] = given if taken else None
        # Fragments are of even length (PS3.8 E.1); a length below that of one element is no answer.
        self._fragment = min(answer.max_pdu or _MAX_FRAGMENT, _MAX_FRAGMENT + 6) - 6 & ~1
        if self._fragment < 8:
            raise Unwelcome(
                f"the peer takes PDUs of {answer.max_pdu} bytes only; nothing can be sent in them"
            )

    def _send_message(self, context_id: int, command: bytes, file: BinaryIO) -> None:
        size = _rest_of(file)
        odd = size % 2  # DCMTK aborts over a fragment of odd length (PS3.8 E.1); deflate alone may be odd
        pdus = max(1, min(_BLOCK // self._fragment, _MOST_PDUS))
        block = memoryview(bytearray(min(size + odd, pdus * self._fragment)))
        pieces = self._fragments(context_id, memoryview(command), command=True)
        full = self._fragments(context_id, block, last=False) if size > len(block) else []
        while size > len(block):  # headers and places are the same each time, the bytes are not
            _fill(file, block)
            size -= len(block)
            self._send(pieces + full)
            pieces = []
        _fill(file, block[:size])
        if odd:
            block[size] = 0
        self._send(pieces + self._fragments(context_id, block[: size + odd]))

    def _fragments(
        self, context_id: int, data: memoryview, *, command: bool = False, last: bool = True
    ) -> list[bytes | memoryview]:
        """`data` as P-DATA-TF PDUs: header, fragment, header, fragment, ..."""
        pieces: list[bytes | memoryview] = []
        for at in range(0, len(data) or 1, self._fragment):
            fragment = data[at : at + self._fragment]
            ends = last and at + self._fragment >= len(data)
            pieces += (p_data(context_id, len(fragment), command=command, last=ends), fragment)
        return pieces

    def _send(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write all pieces; the peer must take at least SLOWEST_BYTES_S in each stretch of `timeout_s`."""
        left = pieces
        until, moved = time.monotonic() + self._timeout_s, 0
        while left:
            now = time.monotonic()
            if now >= until:
                if moved < SLOWEST_BYTES_S * self._timeout_s:
                    raise TimedOut(
                        f"the peer took {moved} bytes in {self._timeout_s:g} s; sending was broken off"
                    )
                until, moved = now + self._timeout_s, 0
            try:
                self._socket.settimeout(until - now if until > now else self._timeout_s)
                sent = self._socket.sendmsg(left)
            except TimeoutError:
                continue
            except OSError as error:
                raise Interrupted(self._last_words() or f"the connection broke: {error.strerror}") from error
            moved += sent
            left = _after(left, sent)

    def _response(self) -> Response:
        self._await_response()
        command = b""
        last = False
        while not last:
            kind, body = self._receive(self._timeout_s, MAX_PDU)
            if kind != PduType.P_DATA:
                if kind == PduType.RELEASE_RQ:
                    with suppress(OSError):
                        self._socket.sendall(RELEASE_RP)
                raise Interrupted(_ended(kind, body))
            try:
                fragment, last = command_fragments(body)
                command += fragment
                answer = response(command) if last else None
            except BadPdu as error:
                raise Interrupted(f"the peer's response is not DICOM: {error}") from error
            if len(command) > MAX_PDU:
                raise Interrupted("the peer's response has no end")
        assert answer is not None
        if answer.message_id != self._message_id:
            raise Interrupted("the peer answered another message than ours")
        self.used_at = time.monotonic()
        return answer

    def _await_response(self) -> None:
        """Wait for the response, longer while the kernel still hands over what we have written."""
        self._acknowledge_at_once()
        owed = self._unsent()
        while not self._readable(self._timeout_s):
            still = self._unsent()
            if owed == 0 or (still and owed - still < SLOWEST_BYTES_S * self._timeout_s):
                raise TimedOut(f"no response from the peer in {self._timeout_s:g} s")
            owed = still

    def _acknowledge_at_once(self) -> None:
        """Linux delays acknowledgements by 40 ms; a peer that writes a PDU in two pieces waits for them."""
        with suppress(OSError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _unsent(self) -> int:
        """Bytes that the peer's machine has not acknowledged (SIOCOUTQ)."""
        with suppress(OSError):
            return int(struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0])
        return 0

    def _readable(self, within_s: float) -> bool:
        try:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(within_s * 1000))
        except (OSError, ValueError):  # severed by another thread
            return True

    def _receive(self, within_s: float, most: int) -> tuple[int, bytes]:
        """One whole PDU: its type and what follows the header.

        Raises:
            Interrupted: the connection ended, the time ran out, or it is longer than `most`.
        """
        until = time.monotonic() + within_s
        kind, length = HEADER.unpack(self._exactly(HEADER.size, until))
        if not PduType.ASSOCIATE_RQ <= kind <= PduType.ABORT or length > most:
            raise Interrupted("the peer answers with something that is not DICOM")
        return kind, self._exactly(length, until)

    def _exactly(self, count: int, until: float) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            try:
                self._socket.settimeout(max(0.001, until - time.monotonic()))
                got = self._socket.recv_into(view)
                self._acknowledge_at_once()
            except TimeoutError as error:
                raise TimedOut("the peer does not answer in time") from error
            except OSError as error:
                raise Interrupted(f"the connection broke: {error.strerror}") from error
            if not got:
                raise Interrupted("the peer closed the connection")
            view = view[got:]
        return bytes(data)

    def _last_words(self) -> str:
        """Why the peer ended the association, when it said so before the connection broke."""
        with suppress(Interrupted):
            if self._readable(0.0):
                return _ended(*self._receive(0.1, MAX_PDU))
        return ""


def _connected(target: Target, timeout_s: float) -> socket.socket:
    try:
        sock = socket.create_connection((target.host, target.port), timeout_s)
    except TimeoutError as error:
        raise Unreachable(f"{target.host}:{target.port} cannot be reached: no answer") from error
    except (OSError, UnicodeError) as error:  # a host name that is none is a UnicodeError
        why = getattr(error, "strerror", None) or "no such host"
        raise Unreachable(f"{target.host}:{target.port} cannot be reached: {why.lower()}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def _ended(kind: int, body: bytes) -> str:
    if kind == PduType.ABORT:
        who = "the peer's application" if body[2:3] == b"\0" else "the peer's DICOM layer"
        return f"{who} aborted the association (reason {body[3] if len(body) > 3 else 0})"
    if kind == PduType.RELEASE_RQ:
        return "the peer released the association"
    return f"the peer sent a PDU of type {kind} out of turn"


def _rest_of(file: BinaryIO) -> int:
    start = file.tell()
    size = file.seek(0, 2) - start
    file.seek(start)
    return size


def _fill(file: BinaryIO, block: memoryview) -> None:
    while block:
        got = file.readinto(block)  # type: ignore[attr-defined] # BinaryIO lacks it; every real file has it
        if not got:
            raise OSError("the file became shorter while it was sent")
        block = block[got:]


def _after(pieces: Sequence[bytes | memoryview], sent: int) -> Sequence[bytes | memoryview]:
    """What is left of `pieces` when `sent` bytes of them are gone."""
    if sent == sum(map(len, pieces)):  # mostly all of them
        return ()
    for number, piece in enumerate(pieces):
        if sent < len(piece):
            return [piece[sent:], *pieces[number + 1 :]]
        sent -= len(piece)
    return ()
