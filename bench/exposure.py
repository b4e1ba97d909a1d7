"""Counts what the exposure gate does with real frontal films, good ones and ones spoilt on purpose.

    python bench/exposure.py FILMS [--patients 200] [--clean] [--only REASON] [--misses FOLDER]
    python bench/exposure.py FILMS --anatomy BUNDLES    composites alone, with the anatomy gate

Clean films are all usable frontal ones as published, and every eighth also enlarged to 512 px. Each fault of
`exposure_faults` is made from one film each of so many patients a site, the same ones for every fault.
Counts are in patients with exact 95 % intervals. `--misses` saves a picture of each miss and false alarm.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from models.pictures import read_pixels
from pipelines.film import Film, Header, Reason
from pipelines.gates.exposure import ExposureGate
from pipelines.lab.ask import gate_ask
from pipelines.lab.ask.gate_ask import Ask
from pipelines.lab.films.data import Row, read_rows
from pipelines.lab.films.exposure_faults import FAULTS, LONG_PX, Fault, Greys, resized
from pipelines.lab.measure.binomial import clopper_pearson

OF_LATERALS = 0.2  # of the composites have a lateral film as their second


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("films", type=Path)
    options.add_argument("--patients", type=int, default=200)
    options.add_argument("--clean", action="store_true", help="only the clean films")
    options.add_argument("--only", default="", help="only this reason's faults")
    options.add_argument("--misses", type=Path)
    options.add_argument(
        "--anatomy", type=Path, help="bundles: composites are held by their anatomy gate too"
    )
    options.add_argument("--high", type=float, default=0.4, help="score from which that gate calls a chest")
    args = options.parse_args()
    gate, rows = ExposureGate(), read_rows(args.films)
    if args.anatomy:
        for line in held_table(gate, gate_ask.asks("anatomy", args.anatomy), rows, args):
            print(line, flush=True)
        return
    if not args.only:
        for line in clean_table(gate, [row for row in rows if row.view == "frontal"], args):
            print(line, flush=True)
    if not args.clean:
        for line in fault_table(gate, rows, args):
            print(line, flush=True)


def clean_table(gate: ExposureGate, rows: list[Row], args: argparse.Namespace) -> Iterator[str]:
    """Good films by site: patients, and those of whom any film was not found good."""
    wrong: dict[str, set[str]] = defaultdict(set)
    for number, row in enumerate(rows):
        film = read_pixels(args.films / row.file)
        shown = [("as published", film)] + [(f"at {LONG_PX} px", enlarged(film))] * (number % 8 == 0)
        for size, greys in shown:
            for reason in said(gate, greys):
                wrong[row.site].add(row.group)
                print(f"  {row.file}, {size}: {reason}")
                keep(args.misses, f"clean-{reason}-{row.file}", greys)
    yield "| site | films | patients | false alarms | 95 % interval |\n|---|---|---|---|---|"
    for site in ("nih", "web", "kermany"):
        here = [row for row in rows if row.site == site]
        n, k = len({row.group for row in here}), len(wrong[site])
        low, high = clopper_pearson(k, n)
        yield f"| {site} | {len(here)} | {n} | {k} | {low:.2%} to {high:.2%} |"


def fault_table(gate: ExposureGate, rows: tuple[Row, ...], args: argparse.Namespace) -> Iterator[str]:
    """A row a fault: how many patients' films were held for any reason that is right, and for which."""
    chosen = sample([row for row in rows if row.view == "frontal"], args.patients)
    laterals = [row for row in rows if row.view == "lateral"]
    films = {row.file: read_pixels(args.films / row.file) for row in (*chosen, *laterals)}
    yield "| fault | bar | patients | caught | share, 95 % interval | named right | web | nih | kermany |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for fault in FAULTS:
        if args.only in ("", fault.reason):
            yield fault_line(gate, fault, chosen, laterals, films, args.misses)


def held_table(
    gate: ExposureGate, ask: Ask, rows: tuple[Row, ...], args: argparse.Namespace
) -> Iterator[str]:
    """A row a composite: held by the seam, by the anatomy gate, and by either; by site."""
    chosen = sample([row for row in rows if row.view == "frontal"], args.patients)
    films = {row.file: read_pixels(args.films / row.file) for row in chosen}
    yield "| composite | site | patients | seam | anatomy | either |\n|---|---|---|---|---|---|"
    for fault in (fault for fault in FAULTS if fault.reason == "SEVERAL_FILMS"):
        for site in ("nih", "web", "kermany"):
            here = [row for row in chosen if row.site == site]
            rng = np.random.default_rng(0)
            made = [fault.make(films[r.file], rng, films[other(r, here, here, rng).file]) for r in here]
            seam = np.array([bool(said(gate, greys)) for greys in made])
            unknown = np.array([ask(greys)[0] < args.high for greys in made])
            counts = f"{seam.sum()} | {unknown.sum()} | {(seam | unknown).sum()}"
            yield f"| {fault.name} | {site} | {len(here)} | {counts} |"


def fault_line(
    gate: ExposureGate,
    fault: Fault,
    chosen: list[Row],
    laterals: list[Row],
    films: dict[str, Greys],
    misses: Path | None,
) -> str:
    """One fault made of every chosen film."""
    rng = np.random.default_rng(int(hashlib.sha256(fault.name.encode()).hexdigest()[:8], 16))
    caught, named, of = defaultdict(int), 0, defaultdict(int)
    for row in chosen:
        greys = fault.make(films[row.file], rng, films[other(row, chosen, laterals, rng).file])
        reasons = said(gate, greys)
        of[row.site] += 1
        caught[row.site] += bool(reasons)
        named += bool(reasons & {fault.reason, *fault.also})
        if not reasons:
            keep(misses, f"missed-{fault.reason}-{fault.name}-{row.file}", greys)
    n, k = sum(of.values()), sum(caught.values())
    low, high = clopper_pearson(k, n)
    sites = " | ".join(f"{caught[site]}/{of[site]}" for site in ("web", "nih", "kermany"))
    return (
        f"| {fault.reason}: {fault.name} | {'yes' if fault.barred else 'no'} | {n} | {k} "
        f"| {k / n:.3f}, {low:.3f} to {high:.3f} | {named} | {sites} |"
    )


def other(row: Row, chosen: list[Row], laterals: list[Row], rng: np.random.Generator) -> Row:
    """A second film for composites: another patient of the same site, or a lateral."""
    if rng.random() < OF_LATERALS:
        return laterals[rng.integers(len(laterals))]
    same = [another for another in chosen if another.site == row.site and another is not row]
    return same[rng.integers(len(same))]


def sample(rows: list[Row], patients: int) -> list[Row]:
    """One film each of at most so many patients a site, always the same ones."""
    first: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda row: hashlib.sha256(row.file.encode()).hexdigest()):
        first.setdefault((row.site, row.group), row)
    by_site: dict[str, list[Row]] = defaultdict(list)
    for row in first.values():
        by_site[row.site].append(row)
    return [row for site in by_site.values() for row in site[:patients]]


def said(gate: ExposureGate, greys: Greys) -> set[Reason]:
    """The reasons for which this film would not simply pass."""
    return {finding.reason for finding in gate(Film(Header(), greys)) if finding.reason}


def enlarged(film: Greys) -> Greys:
    """The film as large as the gates see those of a real detector."""
    times = LONG_PX / max(film.shape)
    return resized(film, (round(film.shape[0] * times), round(film.shape[1] * times)))


def keep(folder: Path | None, name: str, greys: Greys) -> None:
    """Saves a picture to look at."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        safe = "".join(c if c.isalnum() or c in ".-_" else "_" for c in name).removesuffix(".jpg")
        Image.fromarray(np.uint8(np.clip(greys, 0, 1) * 255)).save(folder / f"{safe}.png")


if __name__ == "__main__":
    main()
