"""The first elements of files and datasets, whole and broken."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from dicom_files import dx, part10, ramp
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipelines.instance.first_elements import (
    GROUP_2_AT,
    LAST_OF_GROUP_2,
    MEDIA_SOP_INSTANCE,
    MOST_ELEMENTS,
    SOP_CLASS,
    SOP_INSTANCE,
    TRANSFER_SYNTAX,
    Encoding,
    elements,
    encoding_of,
    files_below,
    first_element,
    has_prefix,
    is_part10,
)

EXPLICIT, IMPLICIT = Encoding(), Encoding(implicit=True)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_uids_of_a_file_in_any_encoding(syntax: str) -> None:
    """Group 2 is explicit and little endian always; the dataset is as group 2 says."""
    ds = dx(ramp())
    file = part10(ds, syntax)
    assert has_prefix(file)
    meta = list(elements(file, GROUP_2_AT, EXPLICIT, last=LAST_OF_GROUP_2))
    texts = {element.tag: element.text(file) for element in meta}
    assert texts[TRANSFER_SYNTAX] == syntax
    found = elements(file, meta[-1].end, encoding_of(syntax), last=SOP_INSTANCE)
    own = {element.tag: element.text(file) for element in found}
    assert (own[SOP_CLASS], own[SOP_INSTANCE]) == (ds.SOPClassUID, ds.SOPInstanceUID)
    assert texts[MEDIA_SOP_INSTANCE] == own[SOP_INSTANCE]


def explicit(element: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HH2sH", 8, element, vr, len(value) if length is None else length) + value


@pytest.mark.parametrize(
    "behind",
    [
        b"",
        b"\x08\0\x16",
        explicit(0x16, b"UI", b"1.2\0", 500),
        explicit(0x16, b"??", b"1.2\0"),
        explicit(0x04, b"UI", b"1.2\0"),
        explicit(0x05, b"CS", b"AB"),
        struct.pack("<HH2sxxL", 8, 0x16, b"SQ", 0xFFFFFFFF) + bytes(32),
        struct.pack("<HH2sxxL", 8, 0x16, b"UN", 0xFFFFFFF0),
        struct.pack("<HH2s", 8, 0x16, b"UN") + b"\0\0",
        explicit(0x20, b"DA", b"20260101"),
    ],
    ids=["end", "half a tag", "long", "no VR", "falls", "twice", "sequence", "4 GiB", "no length", "behind"],
)
def test_what_is_not_clear_ends_it(behind: bytes) -> None:
    """Only what stands before it is there."""
    data = explicit(0x05, b"CS", b"ISO_IR 100") + behind
    assert [element.tag for element in elements(data, 0, EXPLICIT, last=SOP_INSTANCE)] == [0x00080005]


def test_no_more_than_a_bounded_number() -> None:
    """Of sixty thousand elements most are never looked at."""
    many = b"".join(struct.pack("<HHL", 8, number, 0) for number in range(1, 60_000))
    assert sum(1 for _ in elements(many, 0, IMPLICIT, last=0xFFFFFFFF)) == MOST_ELEMENTS


def test_the_first_element_may_be_longer_than_what_is_at_hand() -> None:
    """Its length is what it says."""
    head = struct.pack("<HH2sxxL", 8, 1, b"UN", 4_000_000_000)
    assert first_element(head, 0, EXPLICIT) == (0x00080001, 12, 4_000_000_000)
    assert first_element(head[:7], 0, EXPLICIT) is None


def test_files_of_a_folder(tmp_path: Path) -> None:
    """In order, at any depth; hidden files and folders, DICOMDIR and folders themselves are left out."""
    for name in ("b.dcm", "a/c", "a/.hidden", ".git/d", "DICOMDIR", "a/DICOMDIR", "z.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" if name != "z.txt" else b"DICM")
    below = list(files_below(tmp_path))
    assert [path.relative_to(tmp_path).as_posix() for path in below] == ["a/c", "b.dcm", "z.txt"]
    assert [is_part10(path) for path in below] == [True, True, False]


def test_neither_numpy_nor_pydicom_is_loaded() -> None:
    """The store and the listener ask it."""
    loads = "import sys, pipelines.instance.first_elements"
    code = f"{loads}; sys.exit(bool({{'numpy', 'pydicom'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0
