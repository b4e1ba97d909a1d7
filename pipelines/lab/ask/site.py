"""A hospital's own films, shown to a gate in all its cases: the table that `filmgate calibrate --site` reads.

The films are taken for clean: as they are they must be good, and what is made of them (turned, inverted,
mirrored) is faulty. Patients are numbered; no name and no number of theirs is kept.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from models import bundle
from models.pictures import NOTHING, Known, is_picture
from pipelines.decode import Undecodable
from pipelines.instance.part10 import parse
from pipelines.lab.ask.gate_ask import Ask, asks
from pipelines.lab.ask.gate_cases import CASES, Case, Pixels
from pipelines.lab.films.data import Row
from pipelines.lab.measure import calibrate
from pipelines.lab.measure.budget import PPM, share_of
from pipelines.lab.measure.calibrate import Chosen, is_stress
from pipelines.lab.measure.scores import Score
from pipelines.pixels.film_files import film_files, read_film


@dataclass(frozen=True, slots=True)
class SiteFilm:
    """One film of the hospital."""

    file: str  # in the folder
    view: str  # frontal, lateral, not_chest
    patient: str  # as the manifest or the header has it, "" when neither does
    date: str  # of the study, YYYY-MM-DD or YYYYMMDD, "" when not known
    known: Known = NOTHING  # what the manifest says of a picture's values


@dataclass(frozen=True, slots=True)
class SiteScores:
    """What a gate made of a hospital's films."""

    table: tuple[Score, ...]
    period: str  # "2026-01-05 to 2026-03-31", or "not stated"
    unread: tuple[str, ...]  # files that could not be read; they count for nothing


def site_films(folder: Path) -> tuple[SiteFilm, ...]:
    """The films that `manifest.csv` in the folder names, else every picture in it as a clean frontal film.

    Raises OSError, or ValueError when the manifest has no column `file`.
    """
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        paths = film_files(folder)
        return tuple(SiteFilm(path.relative_to(folder).as_posix(), "frontal", "", "") for path in paths)
    with manifest.open(newline="") as handle:
        lines = list(csv.DictReader(handle))
    if lines and "file" not in lines[0]:
        raise ValueError(f"{manifest.name} has no column `file`")
    return tuple(
        SiteFilm(
            line["file"],
            line.get("view") or "frontal",
            line.get("group") or "",
            line.get("date") or "",
            Known.of_line(line),
        )
        for line in lines
        if not line.get("flag")  # no clean truth, as in films to train with
    )


def site_scores(gate: str, folder: Path, ask: Ask, *, progress: bool = True) -> SiteScores:
    """Asks the gate about every film in all the cases that choose thresholds; each is decoded once.

    Raises OSError or ValueError for a folder that cannot be used.
    """
    cases = [case for case in CASES[gate] if not case.most and not is_stress(case.name)]
    patients: dict[str, str] = {}
    table: list[Score] = []
    dates: list[str] = []
    unread: list[str] = []
    films = site_films(folder)
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        for film in bar.track(films, description=f"{gate} on {folder.name}"):
            try:
                pixels, patient, date = _read(folder / film.file, film.known)
            except (OSError, Undecodable, ValueError):
                unread.append(film.file)
                continue
            known = film.patient or patient or f"film {film.file}"
            number = patients.setdefault(known, f"patient {len(patients) + 1}")
            table += _scores(gate, folder.name, film, number, cases, ask, pixels)
            dates.append(film.date or date)
    return SiteScores(tuple(table), _period(dates), tuple(unread))


def _scores(
    gate: str, site: str, film: SiteFilm, patient: str, cases: Sequence[Case], ask: Ask, pixels: Pixels
) -> Iterable[Score]:
    part = "" if film.view == "not_chest" else "chest"
    row = Row(film.file, site, site, patient, film.view, part, "", "", "", "")
    for case in cases:
        if case.fits(row):
            score, named = ask(case.alter(pixels).copy())
            wanted = "|".join(case.wanted(row))
            yield Score(
                gate, "", film.file, site, site, patient, film.view, part, case.name, wanted, score, named
            )


def _read(path: Path, known: Known) -> tuple[Pixels, str, str]:
    """Pixels as displayed, patient and study date, where the header has them."""
    film = read_film(path, known)
    patient = "" if is_picture(path) else str(parse(path).ds.get("PatientID") or "")
    return film.pixels, patient, film.header.study_date


def _period(dates: Iterable[str]) -> str:
    plain = sorted(date.replace("-", "") for date in dates if date)
    if not plain:
        return "not stated"
    first, last = (f"{day[:4]}-{day[4:6]}-{day[6:8]}" for day in (plain[0], plain[-1]))
    return f"{first} to {last}"


def calibrate_site(
    gate: str, films: Path, bundles: Path, out: Path, may_lose: float | None = None, *, progress: bool = True
) -> tuple[Chosen, SiteScores]:
    """Chooses the thresholds of a gate on a hospital's films; writes its bundle, and the others, into `out`.

    `may_lose` is the share of clean films to promise, else the gate's share of the budget. Raises
    CannotPromise, and then nothing is written; BundleError, OSError or ValueError.
    """
    share = share_of(gate)
    if may_lose is not None:
        share = replace(share, loss_ppm=round(may_lose * PPM))
    clean = sum(film.view == "frontal" for film in site_films(films))
    calibrate.enough(gate, clean, share)  # before hours are spent: patients are never more than films
    seen = site_scores(gate, films, asks(gate, bundles), progress=progress)
    chosen = calibrate.calibrate_on_site(
        bundles / gate, out / gate, seen.table, share, seen.period, films.resolve().name
    )
    for other in bundles.iterdir():
        if bundle.kind_of(other) == "gate" and not (out / other.name).exists():
            shutil.copytree(other, out / other.name)
    return chosen, seen
