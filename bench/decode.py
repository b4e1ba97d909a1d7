"""Milliseconds from a file to a Film, by stage and transfer syntax, on one core.

    python bench/decode.py [--rows 2500] [--columns 2048] [--repeat 10]

The film is 12 bits in 16, a smooth picture with detector noise. `read` is parsing up to the pixels, `decode`
the codec (JPEG 2000 at a lower resolution), `shrink` the area average, `show` the grey scale; `child` is the
whole through the decoder's child process. The last line is a corrected copy, turned and inverted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import encoded
import imagecodecs
import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from gateway.sandbox.decoder import Decoder
from pipelines import decode, display
from pipelines.codecs.frames import stored_frame
from pipelines.codecs.layout import Layout
from pipelines.film import PREVIEW_PX, Operations
from pipelines.instance.part10 import parse
from pipelines.pixels.shrinking import shrunk

NAMES = (
    "native, explicit little",
    "native, implicit, 16 bits",
    "native, big endian",
    "native, deflated",
    "RLE",
    "JPEG extended, 12 bits",
    "JPEG lossless",
    "JPEG-LS",
    "JPEG 2000 lossless",
    "HTJ2K",
)
ENCODE = {"JPEG extended, 12 bits": lambda a: imagecodecs.jpeg8_encode(a, level=95, bitspersample=12)}
CODECS = [
    replace(codec, bits=12, encode=ENCODE.get(name, codec.encode))
    for name in NAMES
    for codec in encoded.CODECS
    if codec.name == name
]


def film(rows: int, columns: int) -> np.ndarray:
    """(rows, columns) uint16, a smooth picture with noise."""
    y, x = np.ogrid[0:rows, 0:columns]
    smooth = 2000 + 900 * np.sin(y / rows * 9) * np.cos(x / columns * 7)
    noise = np.random.default_rng(0).normal(0, 15, (rows, columns))
    return np.clip(smooth + noise, 0, 4095).astype("<u2")


def stages(path: Path) -> dict[str, float]:
    """One run, in milliseconds."""
    marks = [time.perf_counter()]
    part = parse(path)
    layout = Layout.of(part.ds)
    marks.append(time.perf_counter())
    stored = stored_frame(part, layout, shrink=max(layout.rows, layout.columns) // PREVIEW_PX)
    marks.append(time.perf_counter())
    values, _ = shrunk(stored, part.ds, layout, PREVIEW_PX)
    marks.append(time.perf_counter())
    display.displayed(values, part.ds, layout)
    marks.append(time.perf_counter())
    names = ("read", "decode", "shrink", "show")
    return {name: (b - a) * 1e3 for name, a, b in zip(names, marks[:-1], marks[1:], strict=True)}


def median_ms(do: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        do()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rows", type=int, default=2500)
    options.add_argument("--columns", type=int, default=2048)
    options.add_argument("--repeat", type=int, default=10)
    args = options.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pixels = film(args.rows, args.columns)
    heads = "".join(f"{name:>8}" for name in ("MB", "read", "decode", "shrink", "show", "Film", "child"))
    print(f"{'transfer syntax':44}{heads}")
    with tempfile.TemporaryDirectory() as folder, Decoder(timeout_s=60) as decoder:
        for codec in CODECS:
            path = Path(folder) / f"{codec.syntax}.dcm"
            path.write_bytes(encoded.written(codec, pixels, codec.encode(pixels)))
            decoder.film(path)
            runs = [stages(path) for _ in range(args.repeat)]
            columns = [statistics.median(run[name] for run in runs) for name in runs[0]]
            columns.append(median_ms(lambda path=path: decode.decode_film(path), args.repeat))
            columns.append(median_ms(lambda path=path: decoder.film(path), args.repeat))
            told = "".join(f"{value:8.1f}" for value in (path.stat().st_size / 1e6, *columns))
            print(f"{codec.syntax.name[:44]:44}{told}")
        source, out = Path(folder) / f"{ExplicitVRLittleEndian}.dcm", Path(folder) / "copy.dcm"
        turned = Operations(turn=90, invert=True)
        copy_ms = median_ms(lambda: decoder.derive(source, turned, {}, out), args.repeat)
        print(f"a corrected copy through the child: {copy_ms:.1f} ms")


if __name__ == "__main__":
    main()
