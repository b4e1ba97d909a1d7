"""`filmgate region`: a gate for another body region from a folder of labels and boxes (docs/new-gate.md)."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageOps

from gateway.cli.options import Common
from gateway.cli.output import print_json, say
from gateway.cli.tables import print_table
from gateway.errors import FilmgateError, NotFound
from models.bundle import BundleError
from models.picture_files import PictureError
from models.pictures import read
from pipelines.decode import Undecodable, decode_film
from pipelines.instance.first_elements import files_below
from pipelines.instance.part10 import parse
from pipelines.lab.ask import region_ask
from pipelines.lab.films import region_data
from pipelines.lab.films.region_data import NO, TURNED, YES, Film, Region, RegionError
from pipelines.lab.report import region_report
from pipelines.lab.train.region_train import STEPS, Run

Manifest = Annotated[Path, typer.Argument(help="region.yaml; labels.csv and boxes.csv lie beside it.")]
Films = Annotated[Path, typer.Option("--films", help="Folder of the films that labels and boxes name.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the bundle; by default ./bundles/NAME.")]
Cache = Annotated[Path, typer.Option("--cache", help="Folder of the runs and of films made small once.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed and films give the same network.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Batches; else as the recipe says.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor cores to train with.")]
Folds = Annotated[
    int,
    typer.Option(
        "--folds", min=1, max=3, help="Thirds tested; with 1 the network tested is the one that ships."
    ),
]
Sheets = Annotated[Path, typer.Option("--out", help="Folder of the sheets.")]
Grid = Annotated[bool, typer.Option("--grid", help="Lines at every tenth, to read coordinates off.")]
Label = Annotated[str, typer.Option("--label", help="Films with this label: yes, turned or no.")]
Pictures = Annotated[Path, typer.Option("--films", help="Folder that the pictures are written to.")]
Dicom = Annotated[Path, typer.Argument(help="Folder of DICOM films.")]
NewManifest = Annotated[
    Path, typer.Argument(help="Where to write region.yaml, such as regions/hip/region.yaml.")
]

CACHE = Path("work/cache")
CELL_PX, COLUMNS, ROWS = 440, 3, 2
LINES_SHOWN = 20

STARTER = """# A gate for {name}. What each line means: docs/new-gate.md
name: {name}
what: ""
most: 2  # boxes a film has at most
test_only: []  # sources that are kept to test with
terms:
  {source}: unclear  # open, nc (non-commercial or research only) or unclear
"""


@dataclass(frozen=True, slots=True)
class Training:
    """How the networks of a region are trained, and where they lie meanwhile."""

    cache: Cache = CACHE
    seed: Seed = 0
    steps: Steps = None
    threads: Threads = 1

    def run(self, region: Region) -> Run:
        """The run that trains this region."""
        self.cache.mkdir(parents=True, exist_ok=True)
        return Run(region, self.cache, self.seed, self.steps or STEPS, self.threads)


def begin(common: Common, dicom: Dicom, manifest: NewManifest, films: Pictures) -> None:
    """Turn DICOM films into pictures as displayed, and write a manifest to fill in. No name is kept."""
    with _usable():
        if manifest.exists():
            raise FilmgateError(f"{manifest} is there already. Nothing was done. Choose another folder.")
        manifest.parent.mkdir(parents=True, exist_ok=True)
        lines, unread = [], []
        for path in files_below(dicom):
            try:
                lines.append(_picture(path, path.relative_to(dicom), films))
            except (Undecodable, ValueError) as error:
                unread.append({"file": str(path), "why": str(error)})
        if not lines:
            raise NotFound(f"there is no DICOM film in {dicom}. Nothing was written.")
        manifest.write_text(STARTER.format(name=manifest.parent.name, source=films.name))
        with (manifest.parent / "labels.csv").open("w", newline="") as handle:
            out = csv.DictWriter(handle, ("file", "label", "patient", "source"), lineterminator="\n")
            out.writeheader()
            out.writerows({**line, "label": "", "source": films.name} for line in lines)
        (manifest.parent / "boxes.csv").write_text("file,x0,y0,x1,y1,which\n")
    if common.json:
        print_json([{"films": len(lines), "unread": unread, "manifest": manifest}])
    else:
        say(f"{len(lines)} films in {films}; fill in {manifest.parent / 'labels.csv'}")
        for one in unread[:LINES_SHOWN]:
            say(f"not read: {one['file']}: {one['why']}")


def check(common: Common, manifest: Manifest, films: Films) -> None:
    """Read a manifest and name everything that is wrong in it; else count what is there."""
    with _usable():
        region = region_data.read(manifest, films)
    counts = [
        {
            "label": label,
            "used": "train" if trained else "test only",
            "films": len(group),
            "patients": len({film.row.group for film in group}),
            "boxes": sum(len(film.boxes) for film in group),
        }
        for label in (YES, TURNED, NO)
        for trained in (True, False)
        if (group := _labelled(region, label, trained))
    ]
    if common.json:
        print_json(counts)
    else:
        print_table(tuple(counts[0]), (tuple(count.values()) for count in counts))
        say(f"{region.name} can be trained; {region.excluded} films are excluded")


def sheet(
    common: Common,
    manifest: Manifest,
    films: Films,
    out: Sheets = Path("sheets"),
    grid: Grid = False,
    label: Label = "yes",
) -> None:
    """Draw films with their boxes on contact sheets, to look at; wrong boxes are seen at once."""
    with _usable():
        region = region_data.read(manifest, films, ready=False)
        shown = [film for film in region.films if film.row.view == label]
        out.mkdir(parents=True, exist_ok=True)
        paths = list(_sheets(shown, out, grid=grid))
    if common.json:
        print_json([{"sheet": path} for path in paths])
    else:
        say(f"{len(shown)} films on {len(paths)} sheets in {out}")


def train(
    common: Common,
    manifest: Manifest,
    films: Films,
    training: Training,
    out: Out = None,
    folds: Folds = 3,
) -> None:
    """Train and test the gate of a manifest: a bundle for `work.regions`. A stopped run goes on."""
    with _usable():
        run = replace(training.run(region_data.read(manifest, films)), folds=folds)
        folder = out or Path("bundles") / run.region.name
        crossed = region_ask.cross_checked(run)
        apart = region_ask.shipped(run, folder)
        thresholds = region_report.write(folder, run.region, crossed, apart, folds)
    if common.json:
        print_json([{"name": run.region.name, "bundle": folder, "thresholds": thresholds}])
    else:
        say(region_report.report(crossed, apart, thresholds, folds))
        say(f"bundle: {folder}   use it: `work: {{regions: [{folder}]}}` in filmgate.yaml")


def curve(common: Common, manifest: Manifest, films: Films, training: Training) -> None:
    """What more boxes would give: two thirds of the patients, with 25, 50 and 100 % of their boxes."""
    with _usable():
        points = region_ask.learning_curve(training.run(region_data.read(manifest, films)))
        lines = [_point(*point) for point in points]
    if common.json:
        print_json(lines)
    else:
        print_table(tuple(lines[0]), (tuple(line.values()) for line in lines))


def _point(share: float, drawn: int, seen: list[region_ask.Seen]) -> dict[str, object]:
    boxes = region_report.boxes(seen, region_report.best_box(seen))
    return {
        "share": share,
        "boxes": drawn,
        "found": boxes.found,
        "of": len(boxes.overlaps),
        "median overlap": round(boxes.percentile(50), 3),
        "10th percentile": round(boxes.percentile(10), 3),
    }


def _labelled(region: Region, label: str, trained: bool) -> list[Film]:
    return [
        film
        for film in region.films
        if film.row.view == label and (film.row.source not in region.test_only) == trained
    ]


def _picture(path: Path, name: Path, films: Path) -> dict[str, str]:
    """Writes one DICOM film as a picture; returns its name and a number for its patient, not their ID."""
    film = decode_film(path)
    patient = str(parse(path).ds.get("PatientID") or path)
    target = (films / name).with_suffix(".png")
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(film.pixels * 255).astype(np.uint8)).save(target)
    shown = target.relative_to(films).as_posix()
    return {"file": shown, "patient": hashlib.sha256(patient.encode()).hexdigest()[:12]}


def _sheets(shown: list[Film], out: Path, *, grid: bool) -> Iterator[Path]:
    per = COLUMNS * ROWS
    for number in range(math.ceil(len(shown) / per)):
        page = Image.new("RGB", (COLUMNS * CELL_PX, ROWS * CELL_PX), (64, 0, 64))
        for place, film in enumerate(shown[number * per : (number + 1) * per]):
            at = (place % COLUMNS * CELL_PX, place // COLUMNS * CELL_PX)
            page.paste(_cell(film, grid=grid), at)
        path = out / f"sheet-{number + 1:03}.png"
        page.save(path)
        yield path


def _cell(film: Film, *, grid: bool) -> Image.Image:
    """One film with its boxes, its name above it."""
    grey = ImageOps.autocontrast(Image.fromarray(read(Path(film.row.file), film.row.known).eights), cutoff=1)
    room = CELL_PX - 20
    scale = room / max(grey.size)
    shown = grey.resize((round(grey.width * scale), round(grey.height * scale))).convert("RGB")
    cell = Image.new("RGB", (CELL_PX, CELL_PX), (64, 0, 64))
    pen = ImageDraw.Draw(shown)
    wide, high = shown.size
    for k in range(1, 10) if grid else ():
        colour = (255, 255, 0) if k == 5 else (0, 130, 130)
        pen.line((k * wide / 10, 0, k * wide / 10, high), fill=colour)
        pen.line((0, k * high / 10, wide, k * high / 10), fill=colour)
        pen.text((k * wide / 10 + 2, 0), f".{k}", fill=(255, 255, 0))
        pen.text((1, k * high / 10 + 1), f".{k}", fill=(255, 255, 0))
    for x0, y0, x1, y1 in film.boxes:
        pen.rectangle((x0 * wide, y0 * high, x1 * wide - 1, y1 * high - 1), outline=(255, 60, 60), width=2)
    cell.paste(shown, (2, 18))
    ImageDraw.Draw(cell).text((2, 3), film.name, fill=(255, 255, 255))
    return cell


@contextmanager
def _usable() -> Iterator[None]:
    """
    Raises:
        FilmgateError: the manifest, the films or a bundle cannot be used.
    """
    try:
        yield
    except (RegionError, BundleError, PictureError, OSError) as error:
        raise FilmgateError(
            f"{error}\nNothing was trained. `filmgate region check` reads it again."
        ) from error
