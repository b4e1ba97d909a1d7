"""The child that `transcode` starts: a Part 10 file in, its dataset in another transfer syntax out.

Run by path, not by name: it imports nothing of filmgate, so it starts fast.
"""

from __future__ import annotations

import resource
import sys
from typing import Any

import imagecodecs
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

MEMORY_BYTES = 3 << 30
CPU_S = 120

_JPEG2000 = {JPEG2000Lossless: "jpeg2k_decode", JPEG2000: "jpeg2k_decode"}
_HTJ2K = dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "htj2k_decode")
_CODECS = {
    JPEGBaseline8Bit: "jpeg8_decode",
    JPEGExtended12Bit: "jpeg8_decode",
    JPEGLossless: "jpegsof3_decode",
    JPEGLosslessSV1: "jpegsof3_decode",
    JPEGLSLossless: "jpegls_decode",
    JPEGLSNearLossless: "jpegls_decode",
    **_JPEG2000,
    **_HTJ2K,
}
_WORD_BYTES = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}


def main(path: str, transfer_syntax: str) -> None:
    """Dataset bytes on standard output, or an exit status that is not 0."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    dataset = dcmread(path)
    source = dataset.file_meta.TransferSyntaxUID
    if source.is_encapsulated:
        _decompress(dataset)
    elif source == ExplicitVRBigEndian:
        _swap_words(dataset)
    out: Any = DicomFileLike(sys.stdout.buffer)
    out.is_little_endian = True
    out.is_implicit_VR = transfer_syntax == ImplicitVRLittleEndian
    write_dataset(out, dataset)
    sys.stdout.buffer.flush()


def _decompress(dataset: Dataset) -> None:
    """Decoded pixels are the same pixels: the SOP Instance UID stays (PS3.4 B.4.1.2)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _CODECS:
        get_decoder(syntax).add_plugin("imagecodecs", (__name__, "_decode_frame"))
    dataset.decompress(generate_instance_uid=False)


def _swap_words(dataset: Dataset) -> None:
    """Bytes of word VRs, which pydicom passes through, turned to little endian."""
    for element in dataset.iterall():
        size = _WORD_BYTES.get(element.VR)
        if size and isinstance(element.value, bytes):
            turned = bytearray(len(element.value))
            for byte in range(size):
                turned[byte::size] = element.value[size - 1 - byte :: size]
            element.value = bytes(turned)


# pydicom's interface for decoder plugins

DECODER_DEPENDENCIES = dict.fromkeys(_CODECS, ("imagecodecs",))


def is_available(uid: str) -> bool:
    return uid in _CODECS


def _decode_frame(codestream: bytes, runner: Any) -> bytes:
    """One frame; colour JPEG is left to pydicom's other plugins, which know its colour spaces."""
    syntax = runner.transfer_syntax
    wavelets = syntax in _JPEG2000 or syntax in _HTJ2K
    if runner.samples_per_pixel != 1 and not wavelets:
        raise ValueError("colour JPEG")
    frame = getattr(imagecodecs, _CODECS[syntax])(codestream)
    if frame.shape[:2] != (runner.rows, runner.columns):
        raise ValueError("header and codestream disagree about the size")
    if wavelets and runner.samples_per_pixel == 3:
        runner.set_option("photometric_interpretation", "RGB")
        runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", 8 * frame.dtype.itemsize)
    return bytes(frame.tobytes())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
