#!/usr/bin/env bash
# highdicom 0.28.2: a VOI LUT whose entries have 10, 12 or 14 bits.
#
# PS3.3 C.8.11.3.1.5: in a DX image an entry of the table (the third value of LUT Descriptor) may have 8 bits, or 10 to 16. A
# detector of 12 bits commonly comes with a table of 12 bits.
#
# Expected: the film is shown by its table, scaled by the bits that the table states.
# Seen: of 10, 12, 14 and 16 bits only 16 work. Otherwise the table counts as invalid: RuntimeError, for the table and for the
# whole frame. pydicom 3.0.2 applies all four.
#
# Why it matters: highdicom is what many use to make and show derived objects. A film of an ordinary detector cannot be shown by
# its own table there, and the message blames the film.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "highdicom==0.28.2" "pydicom==3.0.2" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
import sys

import highdicom
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_voi_lut
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

FILM = np.array([[0, 1000, 2000, 4095]] * 4, np.uint16)


def write(path, bits):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "DX"
    ds.Rows, ds.Columns = FILM.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PresentationLUTShape = 1, "MONOCHROME2", "IDENTITY"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, bits])
    table.add_new("LUTData", "OW", np.linspace(0, 2**bits - 1, 4096).astype("<u2").tobytes())
    ds.VOILUTSequence = [table]
    ds.add_new("PixelData", "OW", FILM.tobytes())
    ds.save_as(path, enforce_file_format=True)


def answer(read):
    try:
        return read()
    except RuntimeError as exc:
        return f"RuntimeError: {exc}"


print("highdicom", highdicom.__version__, "pydicom", pydicom.__version__, "stored", FILM[0].tolist())
changed = False
for bits in (10, 12, 14, 16):
    write("film.dcm", bits)
    ds = pydicom.dcmread("film.dcm")
    by_pydicom = apply_voi_lut(ds.pixel_array, ds)[0].tolist()
    table = answer(lambda: highdicom.VOILUT.from_dataset(ds.VOILUTSequence[0]).lut_data.max())
    image = highdicom.imread("film.dcm")
    frame = answer(lambda: image.get_frame(1, apply_voi_transform=True)[0].round(3).tolist())
    print(f"{bits} bits: pydicom {by_pydicom}\n         highdicom's table: {table}\n         highdicom's frame: {frame}")
    refused = isinstance(table, str) and isinstance(frame, str)
    changed |= refused != (bits < 16) or by_pydicom[-1] != 2**bits - 1
sys.exit("the behaviour has changed" if changed else 0)
PY
