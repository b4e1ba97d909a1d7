"""Films broken in transit or on a disk that still decode: how many of them reach an AI.

    python bench/harm/damage.py FILMS [--each 3] [--split train] [--seed 0] [--list]

FILMS is a folder of pictures with a manifest.csv (columns file, view, split, flag); frontal chests that pass
as they are get encoded in each transfer syntax, damaged, and shown to the whole line: decode, gates, policy.
A damage counts as broken when it alters at least a thousandth of the picture: pixels that differ by more than
2 % of the grey range from the same file undamaged, as the codec alone gives them. What it refuses is counted
apart. Encapsulated items stay consistent. The table has a row for each codec and damage; the last line is the
total with its exact (Clopper-Pearson) 95 % interval, and the largest share that was wrong and passed.
"""

from __future__ import annotations

import argparse
import csv
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all of bench/ shares

from encoded import CODECS, Codec, written
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from pipelines.decode import Undecodable, decode_film
from pipelines.film import Act
from pipelines.gates import Gates, load
from pipelines.lab.measure.binomial import clopper_pearson
from pipelines.policy import Acceptance, Policy, decide, decide_unreadable

EOI = b"\xff\xd9"
BROKEN = 0.001  # of the picture
WRONG = 0.02  # of the grey range
LEAST_PX = 190  # rows and columns: smaller ones are thumbnails of films


Damage = Callable[[bytes, bytes, random.Random], bytes]


def _somewhere(data: bytes, rng: random.Random) -> int:
    return rng.randrange(len(data) // 20 + 700, len(data) * 19 // 20)


def _cut_and_filled(fill: Callable[[bytes, bytes, int, int, random.Random], bytes]) -> Damage:
    def damaged(data: bytes, other: bytes, rng: random.Random) -> bytes:
        at = _somewhere(data, rng)
        filled = fill(data, other, at, len(data) - at, rng)
        return data[:at] + filled.ljust(len(data) - at, b"\0")[: len(data) - at]

    return damaged


def _closed(damage: Damage) -> Damage:
    def damaged(data: bytes, other: bytes, rng: random.Random) -> bytes:
        broken = damage(data, other, rng)
        return broken[:-2] + EOI if data.rstrip(b"\0").endswith(EOI) else broken

    return damaged


def _run(data: bytes, most: float, rng: random.Random) -> tuple[int, int]:
    """Where a piece begins and how long it is."""
    length = rng.randrange(256, max(257, int(len(data) * most)))
    return rng.randrange(len(data) // 20 + 700, max(len(data) // 20 + 701, len(data) - length)), length


def _overwritten(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    at, length = _run(data, 0.2, rng)
    return data[:at] + rng.randbytes(length) + data[at + length :]


def _foreign_piece(data: bytes, other: bytes, rng: random.Random) -> bytes:
    at, length = _run(data, 0.2, rng)
    length = min(length, len(other) - 1400)
    begin = rng.randrange(700, len(other) - length)
    return data[:at] + other[begin : begin + length] + data[at + length :]


def _removed(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    at, length = _run(data, 0.2, rng)
    return (data[:at] + data[at + length :]).ljust(len(data), b"\0")


def _inserted(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    at, length = _run(data, 0.2, rng)
    return data[:at] + data[at - min(at, length) : at] + data[at:]


def _hole(size: int) -> Damage:
    def damaged(data: bytes, _other: bytes, rng: random.Random) -> bytes:
        page = min(size, len(data) // 8)
        at = page * rng.randrange(1, max(2, len(data) // page))
        return data[:at] + bytes(min(page, len(data) - at)) + data[at + page :]

    return damaged


def _flipped(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(4):
        broken[_somewhere(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(broken)


def _cut(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    return data[: _somewhere(data, rng)]


def _restarted(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    return data[: _somewhere(data, rng)] + data


def _other_behind(data: bytes, other: bytes, rng: random.Random) -> bytes:
    at = _somewhere(data, rng)
    return data[:at] + other[: len(other) // 2]


DAMAGES: dict[str, Damage] = {
    "cut": _cut,
    "cut, closed by an end": lambda d, o, r: _cut(d, o, r) + EOI,
    "cut, filled with zeros": _closed(_cut_and_filled(lambda _d, _o, _at, n, _r: bytes(n))),
    "cut, filled with ones": _closed(_cut_and_filled(lambda _d, _o, _at, n, _r: b"\xff" * n)),
    "cut, filled with noise": _closed(_cut_and_filled(lambda _d, _o, _at, n, r: r.randbytes(n))),
    "cut, filled with a repeat": _closed(
        _cut_and_filled(lambda d, _o, at, n, _r: (d[max(700, at - n) : at] * (n // max(1, at - 700) + 1))[:n])
    ),
    "cut, filled from another film": _closed(_cut_and_filled(lambda _d, o, _at, n, _r: o[-n:])),
    "overwritten by noise": _overwritten,
    "overwritten from another film": _foreign_piece,
    "a piece removed": _closed(_removed),
    "a piece twice": _inserted,
    "a hole of 4 KiB": _hole(4096),
    "a hole of 64 KiB": _hole(65536),
    "four bits flipped": _flipped,
    "restarts": _restarted,
    "another film behind": _other_behind,
}


def deepened(greys: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """8-bit greys as a detector of so many bits would give them, with its noise."""
    if bits == 8:
        return greys
    step = 1 << (bits - 8)
    noise = rng.normal(0, 0.7 * step, greys.shape) + rng.uniform(0, step, greys.shape)
    return np.clip(greys * float(step) + noise, 0, (1 << bits) - 1).astype("<u2")


def asked(gates: Gates, file: bytes) -> tuple[Act, str]:
    """What the whole line says: the act, and the reasons."""
    policy, ai = Policy.default(), {"ai": Acceptance()}
    try:
        film = decode_film(file)
    except Undecodable as error:
        decision = decide_unreadable(policy, error.header, error.reason, str(error))
    else:
        decision = decide(policy, film.header, gates.look(film), destinations=ai, today=date(2026, 1, 2))
    return decision.act, "|".join(decision.reasons)


def wrong(codec: Codec, broken: bytes, whole: np.ndarray) -> float | None:
    """The share of the picture that differs, as a decoder that takes what it gets shows it, or None."""
    if codec.syntax == RLELossless:
        return _wrong_rle(broken, whole)
    if codec.decode is None:
        word = ">u2" if codec.syntax == ExplicitVRBigEndian else whole.dtype
        flat = np.frombuffer(broken[: whole.nbytes].ljust(whole.nbytes, b"\0"), word)
        pixels = flat.reshape(whole.shape)
    else:
        try:
            pixels = codec.decode(broken)
        except (RuntimeError, ValueError):
            return None
    if pixels.shape != whole.shape:
        return None
    differ = np.abs(pixels.astype(np.int64) - whole.astype(np.int64)) > WRONG * (1 << codec.bits)
    return float(differ.mean())


def _wrong_rle(broken: bytes, whole: np.ndarray) -> float | None:
    """Of each segment as much as is there, most significant bytes first."""
    count, first, second = struct.unpack_from("<3I", broken)
    if count != 2 or not 64 <= first < second < len(broken):
        return None
    planes = []
    for piece in (broken[first:second], broken[second:]):
        try:
            unpacked = bytes(imagecodecs.packbits_decode(piece))
        except (RuntimeError, ValueError):
            return None
        planes.append(np.frombuffer(unpacked[: whole.size].ljust(whole.size, b"\0"), np.uint8).astype(int))
    pixels = (planes[0] * 256 + planes[1]).reshape(whole.shape)
    return float((np.abs(pixels - whole) > WRONG * 4096).mean())


def sources(folder: Path, split: str, rng: random.Random) -> Iterator[tuple[str, np.ndarray]]:
    """Frontal chests of the split without a flag, in random order."""
    with (folder / "manifest.csv").open(newline="") as handle:
        lines = [
            line
            for line in csv.DictReader(handle)
            if line["view"] == "frontal" and not line["flag"] and line["split"] == split
        ]
    rng.shuffle(lines)
    for line in lines:
        path = folder / "films" / line["file"]
        path = path if path.exists() else folder / line["file"]
        with Image.open(path) as picture:
            greys = np.asarray(picture.convert("L"))
        if min(greys.shape) >= LEAST_PX:
            yield line["file"], greys


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("films", type=Path)
    options.add_argument("--each", type=int, default=3, help="films for each codec and damage")
    options.add_argument("--split", default="", help="of the manifest")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", default="", help="codecs whose name has this word")
    options.add_argument("--list", action="store_true", help="also a line for each film that passed")
    args = options.parse_args()
    rng, noise = random.Random(args.seed), np.random.default_rng(args.seed)
    gates = load()
    films = sources(args.films, args.split, rng)
    counted: dict[tuple[str, str], Counter[str]] = {}
    worst: dict[tuple[str, str], float] = {}
    held_clean = 0
    began = time.monotonic()
    for codec in (one for one in CODECS if args.only in one.name):
        made = 0
        other = b""
        while made < args.each:
            name, greys = next(films)
            pixels = deepened(greys, codec.bits, noise)
            data = codec.encode(pixels)
            file = written(codec, pixels, data)
            act, said = asked(gates, file)
            if act is not Act.PASS:
                held_clean += "DAMAGED" in said or "DECODE" in said or "MISMATCH" in said
                continue
            if not other:
                other = data
                continue
            whole = pixels if codec.decode is None else codec.decode(data)
            made += 1
            for damage, broken in ((n, d(data, other, rng)) for n, d in DAMAGES.items()):
                file = written(codec, pixels, broken)
                share = wrong(codec, broken, whole)
                count = counted.setdefault((codec.name, damage), Counter())
                if share is not None and share < BROKEN:
                    count["harmless"] += 1
                    continue
                act, said = asked(gates, file)
                if share is None:  # in full; at a lower resolution some still give a picture
                    if act not in (Act.PASS, Act.CORRECT):
                        count["refused"] += 1
                        continue
                    share = 1.0
                count["broken"] += 1
                if act in (Act.PASS, Act.CORRECT):
                    count["passed"] += 1
                    worst[codec.name, damage] = max(worst.get((codec.name, damage), 0.0), share)
                    if args.list:
                        print(f"passed: {codec.name}, {damage}, {name}, {share:.3f} wrong", flush=True)
            other = data
    print(f"{'codec':28}{'damage':32}{'broken':>7}{'passed':>7}{'worst':>7}{'harmless':>9}{'refuses':>8}")
    for (codec_name, damage), count in counted.items():
        most = worst.get((codec_name, damage), 0.0)
        print(
            f"{codec_name:28}{damage:32}{count['broken']:7}{count['passed']:7}{most:7.3f}{count['harmless']:9}"
            f"{count['refused']:8}"
        )
    broken, passed = (sum(c[k] for c in counted.values()) for k in ("broken", "passed"))
    low, high = clopper_pearson(passed, broken)
    print(
        f"passed {passed} of {broken} ({passed / max(1, broken):.3f}, 95 % {low:.3f} to {high:.3f}),"
        f" worst share {max(worst.values(), default=0.0):.3f}; clean films held as damaged: {held_clean}"
        f"; {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
