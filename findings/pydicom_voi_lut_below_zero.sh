#!/usr/bin/env bash
# pydicom 3.0.2: a VOI LUT that begins below zero, in Implicit VR.
#
# PS3.3 C.11.2.1.1: the first input value of a VOI LUT is signed (SS) where the Rescale Slope and Intercept may lead below zero,
# whatever Pixel Representation says. Explicit VR writes SS beside it; in Implicit VR the reader has to apply that rule.
#
# Expected: the same picture from the same film in Explicit and Implicit VR.
# Seen: from Implicit VR the first value -1024 reads 64512, because pydicom asks Pixel Representation alone (unsigned here). All
# of the film then lies below the table, and apply_voi_lut gives its first entry for every pixel: a black film, no error and no
# warning about the table. pixel_array and apply_modality_lut are right. dcm2pnm of DCMTK shows both files alike.
#
# Why it matters: Implicit VR is the one transfer syntax that everybody must speak, so a film often passes through it on its way.
# The film of a modality that writes Explicit VR then goes black behind an old archive.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "pydicom==3.0.2" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
import io
import sys

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

FILM = np.array([[0, 512, 1024, 1536, 2047]] * 4, np.uint16)


def read(syntax):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.Rows, ds.Columns = FILM.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "US"
    table = Dataset()
    table.add_new("LUTDescriptor", "SS", [2048, -1024, 16])
    table.add_new("LUTData", "OW", np.linspace(0, 65535, 2048).astype("<u2").tobytes())
    ds.VOILUTSequence = [table]
    ds.add_new("PixelData", "OW", FILM.tobytes())
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    file.seek(0)
    return pydicom.dcmread(file)


print("pydicom", pydicom.__version__, "stored", FILM[0].tolist())
seen = {}
for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
    ds = read(syntax)
    rescaled = apply_modality_lut(ds.pixel_array, ds)
    shown = apply_voi_lut(rescaled, ds)[0].tolist()
    first = ds.VOILUTSequence[0].LUTDescriptor[1]
    seen[syntax] = first, shown
    print(f"{syntax.name}: rescaled {rescaled[0].astype(int).tolist()}, the table begins at {first}, shown {shown}")
explicit, implicit = seen.values()
same = explicit == (-1024, [0, 16391, 32783, 49175, 65535]) and implicit == (64512, [0] * 5)
sys.exit(0 if same else "the behaviour has changed")
PY
