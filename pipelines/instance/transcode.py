"""An instance in another, uncompressed transfer syntax (PS3.5 section 10, Annex A), its pixels as gated.

Decoded by the decoder that the gates see through; what was written is read again and must show the same.
Elements keep their bytes, turned where the byte order is: odd values are not judged here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.hooks import raw_element_vr
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pipelines.codecs.fragments import pixels_end
from pipelines.codecs.frames import decoded_photometric, native_frames, stored_frames
from pipelines.codecs.layout import Layout, Pixels
from pipelines.codecs.syntaxes import NATIVE_FRAMES
from pipelines.decode import film_of, lossy_attributes, values_digest
from pipelines.film import Film, Header, Reason
from pipelines.header import quietly
from pipelines.instance.first_elements import UNDEFINED_LENGTH
from pipelines.instance.part10 import (
    PIXEL_DATA,
    Part10,
    Source,
    Undecodable,
    elements,
    parse,
)
from pipelines.pixels.luts import modality, read_lut, stored_span

TARGETS = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian})
MAX_VALUE = 0xFFFFFFFE  # bytes of a value of defined length
ICON_IMAGE_SEQUENCE, LUT_DESCRIPTOR = 0x00880200, 0x00283002
EXTENDED_OFFSETS = frozenset({0x7FE00001, 0x7FE00002})
PIXEL_REPRESENTATION = "PixelRepresentation"
ITEM, DELIMITER = struct.Struct("<HHI"), b"\xfe\xff\xdd\xe0\0\0\0\0"
WORD_BYTES = dict.fromkeys(("AT", "OW", "SS", "US"), 2)
WORD_BYTES |= dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4)
WORD_BYTES |= dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8)


@dataclass(frozen=True, slots=True)
class Transcoded:
    """An instance in its new transfer syntax."""

    dataset: memoryview  # the encoded dataset, without group 2
    pixels: str  # digest of the pixels, of the source's and of these; "" where there are none to compare


@dataclass(frozen=True, slots=True)
class Shown:
    """What the pixels of an instance come to."""

    digest: str
    film: Film | None  # the first frame as a person sees it; None where it cannot be displayed


def transcode(source: Source, transfer_syntax: str) -> Transcoded:
    """The instance in Implicit or Explicit VR Little Endian, under its own UIDs (PS3.4 B.4.1.2).

    Raises Undecodable, also where what was written would not show what the source shows.
    """
    if transfer_syntax not in TARGETS:
        raise Undecodable(Reason.UNSUPPORTED, f"nothing is transcoded to {UID(transfer_syntax).name}")
    part = parse(source)
    with quietly():
        out = BytesIO(bytes(128) + b"DICM")
        out.seek(0, 2)
        meta = FileMetaDataset()  # for reading it again; it is not sent
        meta.TransferSyntaxUID = UID(transfer_syntax)
        write_file_meta_info(DicomFileLike(out), meta, enforce_standard=False)
        begin = out.tell()
        shown = _write(out, part, implicit=transfer_syntax == ImplicitVRLittleEndian)
        data = out.getbuffer()
        _check_written(part, shown, parse(data))
        return Transcoded(data[begin:], shown.digest if shown else "")


def _write(out: BytesIO, part: Part10, *, implicit: bool) -> Shown | None:
    ahead, tail = elements(part, pixels_end(part) if part.pixel_tag else 0)
    file: Any = DicomFileLike(out)
    file.is_implicit_VR, file.is_little_endian = implicit, True
    layout = _layout(part)
    changed = _changed(part, layout) if layout else Dataset()
    _write_elements(file, ahead, changed, part.transfer_syntax, (part.ds,))
    shown = _write_pixels(file, part, layout) if part.pixel_tag else None
    _write_elements(file, tail, Dataset(), part.transfer_syntax, (part.ds,))
    return shown


def _layout(part: Part10) -> Layout | None:
    """None where values are not decoded: there are none, no integers, or native ones described badly."""
    if part.pixel_tag != PIXEL_DATA:
        return None
    try:
        return Layout.of(part.ds)
    except Undecodable:
        if part.pixel_length == UNDEFINED_LENGTH:
            raise
        return None


# What the pixels' new form changes in the header


def _changed(part: Part10, layout: Layout) -> Dataset:
    """Photometric Interpretation and Planar Configuration of what a codec gave (PS3.5 8.2)."""
    changed = lossy_attributes(part, layout)
    coded = part.pixel_length == UNDEFINED_LENGTH and part.transfer_syntax not in NATIVE_FRAMES
    if coded and layout.samples > 1:
        changed.PhotometricInterpretation = decoded_photometric(part, layout)
        changed.PlanarConfiguration = 0
    return changed


# Pixels


def _write_pixels(file: Any, part: Part10, layout: Layout | None) -> Shown:
    """The pixel element, written as frames are decoded, and what they show."""
    coded = part.pixel_length == UNDEFINED_LENGTH
    vr = ("OB" if layout.allocated <= 8 else "OW") if layout and coded else part.pixel_vr
    write_data_element(file, DataElement(part.pixel_tag, vr, b""))
    begin = file.tell()
    if layout and coded:
        shown = _seen(part, layout, _written_frames(file, part, layout))
    else:
        file.write(_native_value(part, layout))
        shown = _seen_if_possible(part, layout)
    if (file.tell() - begin) % 2:
        file.write(b"\0")
    end = file.tell()
    if end - begin > MAX_VALUE:
        raise Undecodable(Reason.UNSUPPORTED, "decoded, its pixels are too long for one element")
    file.seek(begin - 4)
    file.write_UL(end - begin)
    file.seek(end)
    return shown


def _written_frames(file: Any, part: Part10, layout: Layout) -> Iterator[Pixels]:
    for stored, held in native_frames(part, layout):
        file.write(held)
        yield stored


def _native_value(part: Part10, layout: Layout | None) -> memoryview:
    """A native value as it is, padding and all, turned to little endian."""
    held = memoryview(part.buffer)[part.pixel_at :][: part.pixel_length]
    if part.pixel_length == UNDEFINED_LENGTH or len(held) != part.pixel_length:
        raise Undecodable(Reason.PIXELS_MISMATCH, "the pixel data are cut off")
    if part.transfer_syntax != ExplicitVRBigEndian:
        return held
    return memoryview(
        _turned(held, max(WORD_BYTES.get(part.pixel_vr, 1), layout.container.itemsize if layout else 1))
    )


def _turned(value: bytes | memoryview, word: int) -> bytes:
    """Big endian words as little endian ones; what is no whole word stays."""
    whole = len(value) // word * word
    return np.frombuffer(value[:whole], f"u{word}").byteswap().tobytes() + bytes(value[whole:])


def _seen(part: Part10, layout: Layout, frames: Iterator[Pixels]) -> Shown:
    first: list[Pixels] = []

    def watched() -> Iterator[Pixels]:
        for stored in frames:
            first[:] = first or [stored]
            yield stored

    digest = values_digest(part, layout, watched())
    return Shown(digest, _film(part, layout, first[0]))


def _seen_if_possible(part: Part10, layout: Layout | None) -> Shown:
    """Native values go as they are, also where they do not make a picture."""
    try:
        return _seen(part, layout, stored_frames(part, layout)) if layout else Shown("", None)
    except Undecodable:
        return Shown("", None)


def _film(part: Part10, layout: Layout, stored: Pixels) -> Film | None:
    try:
        return film_of(part, layout, stored)
    except Undecodable:  # a palette that is not there
        return None


def _check_written(part: Part10, shown: Shown | None, written: Part10) -> None:
    """Raises Undecodable where what was written does not say and show what the source does."""
    same = written.pixel_tag == part.pixel_tag and _said(written.header) == _said(part.header)
    if shown and shown.digest:
        layout = Layout.of(written.ds)
        again = _seen(written, layout, stored_frames(written, layout))
        same &= again.digest == shown.digest and _alike(again.film, shown.film)
    elif shown:
        value = _native_value(part, _layout(part))
        same &= memoryview(written.buffer)[written.pixel_at :][: len(value)] == value
    if not same:
        raise Undecodable(
            Reason.DECODE_FAILED, "in the other transfer syntax it does not show what it shows in this"
        )


def _said(header: Header) -> Header:
    return replace(header, transfer_syntax_uid="", photometric="")


def _alike(one: Film | None, other: Film | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one.pixels, other.pixels)


# Elements


def _write_elements(
    file: Any, ds: Dataset, changed: Dataset, source: UID, ancestors: tuple[Dataset, ...]
) -> None:
    """Every element of `ds` and `changed` but group lengths and offset tables, in the encoding of `file`."""
    for tag in sorted({*ds.keys(), *changed.keys()} - EXTENDED_OFFSETS):
        if tag in changed:
            write_data_element(file, changed[tag])
        elif tag.element and (
            element := _element(ds.get_item(tag), ds, source, file.is_implicit_VR, ancestors)
        ):
            write_data_element(file, element)


def _element(
    element: RawDataElement | DataElement,
    ds: Dataset,
    source: UID,
    implicit: bool,
    ancestors: tuple[Dataset, ...],
) -> RawDataElement | DataElement | None:
    """One element with the bytes of its value, little endian; None for an icon that cannot be decoded."""
    vr = _vr(element, ds, ancestors)
    if vr == "SQ":
        try:
            items = _items(ds[element.tag], source, implicit, ancestors)
        except Undecodable:
            if element.tag != ICON_IMAGE_SEQUENCE:
                raise
            return None
        return RawDataElement(element.tag, "SQ", len(items), items, 0, implicit, True)
    if isinstance(element, DataElement):  # Specific Character Set, which pydicom converts
        return element
    value = element.value or b""
    if not element.is_little_endian:
        value = _turned(value, WORD_BYTES.get(vr, 1))
    return element._replace(VR=vr, value=value, is_implicit_VR=implicit, is_little_endian=True)


def _vr(element: RawDataElement | DataElement, ds: Dataset, ancestors: tuple[Dataset, ...]) -> str:
    """The VR, looked up where the source is implicit; of the ambiguous ones that which the values have."""
    if isinstance(element, DataElement):  # pydicom reads sequences of undefined length at once
        return str(element.VR)
    if element.tag == LUT_DESCRIPTOR and len(ancestors) == 2 and "BitsStored" in ancestors[1]:
        return _descriptor_vr(*ancestors)
    found: dict[str, Any] = {}
    raw_element_vr(element, found, ds=ds)
    vr = str(found["VR"])
    if vr == "US or SS":
        signed = next((one.get(PIXEL_REPRESENTATION) for one in ancestors if PIXEL_REPRESENTATION in one), 0)
        return "SS" if signed == 1 else "US"
    return "OW" if " or " in vr else vr


def _descriptor_vr(item: Dataset, ds: Dataset) -> str:
    """SS where a table of an image begins below zero (C.11.2.1.1), whatever it was written as."""
    span = stored_span(ds) if "ModalityLUTType" in item else modality(ds).span
    lut = read_lut(deepcopy(item), span)  # a copy, as reading converts values
    return "SS" if lut and lut.start < 0 else "US"


def _items(sequence: DataElement, source: UID, implicit: bool, ancestors: tuple[Dataset, ...]) -> bytes:
    """The items of a sequence, each of defined length (PS3.5 7.5)."""
    out = BytesIO()
    for item in sequence.value or ():
        encoded = BytesIO()
        file: Any = DicomFileLike(encoded)
        file.is_implicit_VR, file.is_little_endian = implicit, True
        _write_elements(file, item, _decoded_icon(item, source), source, (item, *ancestors))
        out.write(ITEM.pack(0xFFFE, 0xE000, encoded.tell()))
        out.write(encoded.getvalue())
    return out.getvalue()


def _decoded_icon(item: Dataset, source: UID) -> Dataset:
    """What changes of an item whose own Pixel Data are encapsulated (PS3.5 A.4); mostly nothing."""
    pixels: Any = item.get_item(PIXEL_DATA) if PIXEL_DATA in item else None
    if not isinstance(pixels, RawDataElement) or pixels.length != UNDEFINED_LENGTH:
        return Dataset()
    buffer = (pixels.value or b"") + DELIMITER
    part = Part10(item, Header(), source, buffer, 0, PIXEL_DATA, "OB", 0, UNDEFINED_LENGTH)
    layout = Layout.of(item)
    changed = _changed(part, layout)
    value = b"".join(bytes(held) for _, held in native_frames(part, layout))
    changed.add_new(PIXEL_DATA, "OB" if layout.allocated <= 8 else "OW", value + bytes(len(value) % 2))
    return changed
