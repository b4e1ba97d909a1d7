"""Reading a Part 10 file (PS3.10 section 7) up to its pixels, within bounds, without a copy of them."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset, read_sequence
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from pipelines.film import Header, Reason
from pipelines.header import quietly, read_header, text
from pipelines.instance.first_elements import GROUP_2_AT, UNDEFINED_LENGTH, has_prefix
from pipelines.instance.identity import read_identity

Source = bytes | mmap.mmap | memoryview | Path
Buffer = bytes | mmap.mmap | memoryview

MAX_INFLATED = 256 * 2**20  # bytes; the largest films are near 100 MB, and modalities hardly ever deflate
MAX_READS = (
    800_000  # by the parser, two an element; a film has hundreds of elements, a large enhanced MR 200,000
)
_AT_ONCE = 1 << 16
PIXEL_DATA = 0x7FE00010
FLOAT_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009})


class Undecodable(Exception):
    """Raised when an object has no pixels that can be shown; `header` is there when it could be read."""

    def __init__(self, reason: Reason, text: str = "", header: Header | None = None) -> None:
        super().__init__(text or reason.value)
        self.reason = reason
        self.header = header


@dataclass(frozen=True, slots=True)
class Part10:
    """A parsed instance: the dataset without its pixels, and where in `buffer` the pixels are."""

    ds: Dataset  # everything before Pixel Data, with file_meta
    header: Header
    transfer_syntax: UID
    buffer: Buffer  # what the offsets count in: the file, or the inflated dataset
    start: int = 0  # where the dataset begins
    pixel_tag: int = 0  # 0: there is no pixel data
    pixel_vr: str = "OW"
    pixel_at: int = 0  # offset of the value
    pixel_length: int = 0  # bytes, or UNDEFINED_LENGTH


def parse(source: Source) -> Part10:
    """Parse up to the pixel data. Raises Undecodable(UNREADABLE) for anything that is not whole DICOM."""
    with _not_dicom(), quietly():
        return _parse(_buffer(source))


def _buffer(source: Source) -> Buffer:
    if not isinstance(source, Path):
        return source
    with source.open("rb") as file:  # the map outlives the file object, and closes with its last user
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _parse(buffer: Buffer) -> Part10:
    meta, start = _file_meta(buffer)
    syntax = UID(text(meta, "TransferSyntaxUID"))
    if not syntax:
        raise Undecodable(Reason.UNREADABLE, "no transfer syntax: the file meta information is missing")
    if syntax == DeflatedExplicitVRLittleEndian:
        buffer, start = _inflate(memoryview(buffer)[start:], MAX_INFLATED), 0
    stream = _Stream(buffer, start)
    ds = _read(stream, syntax)
    _check_whole(ds, stream)
    ds.file_meta = meta
    little = syntax != ExplicitVRBigEndian
    pixels = _locate(stream, bool(ds.original_encoding[0]), little) if stream.pixel_tag else (0, "OW", 0, 0)
    no_pixels = not pixels[0] or pixels[-1] == 0
    header = replace(read_header(ds), no_pixels=no_pixels, identity=read_identity(ds))
    return Part10(ds, header, syntax, buffer, start, *pixels)


def elements(part: Part10, behind: int) -> tuple[Dataset, Dataset]:
    """The elements before and behind the pixels, as they were read: no value was converted yet.

    Pixel Data ends at `behind`; zeros that fill the file up are no elements.
    Raises Undecodable(UNREADABLE).
    """
    with _not_dicom(), quietly():
        ahead = _read(_Stream(part.buffer, part.start), part.transfer_syntax)
        rest = _Stream(part.buffer, behind if part.pixel_tag else len(part.buffer))
        tail = _read(rest, part.transfer_syntax) if rest.any_left() else Dataset()
        if rest.left or rest.cut_off or (len(tail) and min(tail.keys()) <= part.pixel_tag):
            raise Undecodable(Reason.UNREADABLE, "what stands behind the pixels is no element")
        return ahead, tail


@contextmanager
def _not_dicom() -> Iterator[None]:
    try:
        yield
    except (Undecodable, MemoryError):
        raise
    except Exception as error:  # pydicom's parser on hostile bytes: recursion, struct, lookup, ...
        raise Undecodable(Reason.UNREADABLE, f"not DICOM: {type(error).__name__}") from error


def _read(stream: _Stream, syntax: UID) -> Dataset:
    """Elements up to the pixels, or to the end.

    VR UN with undefined length is a sequence in Implicit VR Little Endian, in a big endian dataset too
    (PS3.5 6.2.2); pydicom 3.0 reads it in the dataset's own byte order, which stays so in items of sequences.
    """
    little = syntax != ExplicitVRBigEndian
    stream.stops_at_unknown = not little
    ds = read_dataset(stream, syntax == ImplicitVRLittleEndian, little, stop_when=stream.at_pixels)  # type: ignore[arg-type]
    while stream.at_unknown:
        stream.at_unknown = False
        group, element = struct.unpack(">HH8x", stream.read(12))
        items = read_sequence(stream, True, True, UNDEFINED_LENGTH, ds.original_character_set)  # type: ignore[arg-type]
        ds.add_new((group, element), "SQ", items)
        ds.update(read_dataset(stream, False, False, stop_when=stream.at_pixels))  # type: ignore[arg-type]
    return ds


def _file_meta(buffer: Buffer) -> tuple[FileMetaDataset, int]:
    """Group 2 and the offset of the dataset; a missing preamble is forgiven, missing group 2 is not."""
    start = GROUP_2_AT if has_prefix(bytes(buffer[:GROUP_2_AT])) else 0
    if buffer[start : start + 2] != b"\x02\x00":
        raise Undecodable(Reason.UNREADABLE, "not a DICOM file: no file meta information")
    stream = _Stream(buffer, start)
    group_2 = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)  # type: ignore[arg-type]
    return FileMetaDataset(group_2), stream.tell()


def _inflate(deflated: memoryview, limit: int) -> bytes:
    """Inflate (PS3.5 A.5), never beyond `limit` bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, limit)
    if not inflater.eof:
        raise Undecodable(Reason.UNREADABLE, "the deflated dataset is cut off, or inflates beyond the limit")
    return inflated


class _Stream:
    """What pydicom reads from: a view of the buffer, so a value length of 4 GiB asks for no memory."""

    def __init__(self, buffer: Buffer, start: int) -> None:
        self._view = memoryview(buffer)
        self._at = start
        self._reads = 0
        self.pixel_tag = 0
        self.cut_off = False  # whether somebody got less than was asked for, padding with zeros aside
        self.stops_at_unknown = False
        self.at_unknown = False  # at an element of VR UN and undefined length

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            raise Undecodable(Reason.UNREADABLE, "more elements than any film has")
        end = len(self._view) if size is None or size < 0 else self._at + size
        found = bytes(self._view[self._at : end])
        self._at += len(found)
        self.cut_off |= size is not None and 0 < len(found) < size and any(found)
        return found

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = max(0, offset + (0, self._at, len(self._view))[whence])
        return self._at

    @property
    def left(self) -> int:
        """Bytes from here to the end."""
        return len(self._view) - self._at

    def any_left(self) -> bool:
        """Whether there are bytes other than zeros from here to the end; if not, it goes there."""
        rest = self._view[self._at :]
        found = any(any(rest[at : at + _AT_ONCE]) for at in range(0, len(rest), _AT_ONCE))
        self._at = self._at if found else len(self._view)
        return found

    def at_pixels(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        """pydicom asks before each element whether to stop; items of sequences are not asked about."""
        if tag == PIXEL_DATA or tag in FLOAT_PIXEL_DATA:
            self.pixel_tag = int(tag)
        self.at_unknown = self.stops_at_unknown and vr == "UN" and length == UNDEFINED_LENGTH
        return bool(self.pixel_tag) or self.at_unknown


def _check_whole(ds: Dataset, stream: _Stream) -> None:
    """pydicom forgives a dataset that ends in the middle of an element; a gateway must not."""
    last = ds.get_item(list(ds.keys())[-1]) if len(ds) else None
    length, value = getattr(last, "length", 0), getattr(last, "value", b"")
    short = isinstance(value, bytes) and length != UNDEFINED_LENGTH and len(value) < length
    if not len(ds) or short or stream.cut_off or (not stream.pixel_tag and stream.left):
        raise Undecodable(Reason.UNREADABLE, "the dataset is empty or cut off")


def _locate(stream: _Stream, implicit: bool, little: bool) -> tuple[int, str, int, int]:
    """Tag, VR, value offset and value length of the pixel element that the stream stands at (PS3.5 7.1)."""
    order = "<" if little else ">"
    head = stream.read(8)
    if implicit:
        return stream.pixel_tag, "OW", stream.tell(), struct.unpack(order + "I", head[4:])[0]
    vr = head[4:6].decode("latin-1")
    if vr not in ("OB", "OW", "UN", "OF", "OD"):
        raise Undecodable(Reason.UNREADABLE, "the pixel data have no known VR")
    (length,) = struct.unpack(order + "I", stream.read(4))
    return stream.pixel_tag, vr, stream.tell(), length
