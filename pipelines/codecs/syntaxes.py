"""Transfer syntaxes by how their pixels are coded (PS3.5 Annex A)."""

from __future__ import annotations

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEG2000MC,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000MCLossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
# Not named by pydicom 3.0 (PS3.6 table A-1)
JPEGXL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEGXL_RECOMPRESSION = "1.2.840.10008.1.2.4.111"  # of a JPEG codestream, which can be had back
JPEGXL = "1.2.840.10008.1.2.4.112"
UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

JPEG_FAMILY = frozenset(
    {
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        "1.2.840.10008.1.2.4.53",  # spectral selection, retired
        "1.2.840.10008.1.2.4.55",  # full progression, retired
        JPEGLossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEGLSNearLossless,
    }
)
JPEG2000_FAMILY = frozenset(
    {
        JPEG2000Lossless,
        JPEG2000,
        JPEG2000MCLossless,
        JPEG2000MC,
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
        HTJ2K,
    }
)
HTJ2K_FAMILY = frozenset({HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})
JPEGXL_FAMILY = frozenset({JPEGXL_LOSSLESS, JPEGXL_RECOMPRESSION, JPEGXL})
NATIVE_FRAMES = frozenset({DEFLATED_FRAMES, UNCOMPRESSED_FRAMES})  # native values, a fragment a frame
ENCAPSULATED = JPEG_FAMILY | JPEG2000_FAMILY | JPEGXL_FAMILY | NATIVE_FRAMES | {RLELossless}
# Of these a decoder may give values above Bits Stored; the lossless ones are what the encoder was given.
LOSSY = frozenset(
    {
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        "1.2.840.10008.1.2.4.53",
        "1.2.840.10008.1.2.4.55",
        JPEGLSNearLossless,
        JPEG2000,
        JPEG2000MC,
        HTJ2K,
        JPEGXL_RECOMPRESSION,
        JPEGXL,
    }
)
