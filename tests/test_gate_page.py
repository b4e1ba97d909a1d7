"""The page of a gate's report, its contact sheets, and its summary for a card."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_scores import boxes, row
from PIL import Image

from models.pictures import read_pixels
from pipelines.lab.ask import gate_ask, gate_cases
from pipelines.lab.ask.gate_cases import Pixels
from pipelines.lab.films import phantom
from pipelines.lab.films.data import Row
from pipelines.lab.measure import tables
from pipelines.lab.measure.scores import Score
from pipelines.lab.report import gate_report, page

LOW, HIGH = THRESHOLDS = (0.1, 0.9)


def brightness(a: Pixels) -> tuple[float, str]:
    """A real, simple gate: how much brighter the middle is than the whole film."""
    height, width = a.shape
    middle = a[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4]
    return float(np.clip(0.5 + 2 * (middle.mean() - a.mean()), 0, 1)), "INVERTED"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row], list[Score]]:
    """Thirty phantom films of two sites, looked at by a real gate."""
    films = tmp_path_factory.mktemp("films")
    rows = []
    for seed in range(30):
        grey = (phantom.render("frontal", seed, (128, 104)) * 255).astype(np.uint8)
        Image.fromarray(grey).save(films / f"{seed}.png")
        label = "Effusion" if seed % 3 else "No Finding"
        site = "web" if seed % 2 else "nih"
        rows.append(row(f"{seed}.png", f"patient {seed // 2}", site, labels=label, sex="MF"[seed // 2 % 2]))
    scores = [
        one
        for round_ in ("nih", "web")
        for one in gate_ask.score_films(
            "inversion", brightness, films, [r for r in rows if r.site == round_], round_, progress=False
        )
    ]
    return films, rows, scores


def test_the_page_stands_by_itself(tmp_path: Path, shown: tuple[Path, list[Row], list[Score]]) -> None:
    """Every link leads to a file of the folder, nothing to the network; the extra tables are there."""
    films, rows, scores = shown
    extra = [
        (
            "Controls",
            [("border <rows>", "AUC", 0.61234, 30, (0.5, 0.7)), ("header", "AUC", "chance", 30, None)],
        )
    ]
    path = gate_report.write(
        tmp_path / "out", "inversion", scores, (0.45, 0.55), rows, films, extra, budget=0.0004
    )
    html = path.read_text()
    links = re.findall(r'(?:href|src|srcset)="([^"]+)"', html)
    assert len(links) > 10
    assert not [link for link in links if "//" in link]
    assert not [link for link in links if not link.startswith("#") and not (path.parent / link).is_file()]
    assert not [link for link in links if link.startswith("#") and f'id="{link[1:]}"' not in html]
    assert "border &lt;rows&gt;" in html
    assert "0.5 to 0.7" in html
    for table in ("claims", "counts", "cases", "rounds", "roc", "coverage", "slices", "errors"):
        assert (path.parent / f"{table}.csv").stat().st_size > 0


def test_every_error_is_on_a_sheet_as_it_was_shown(
    tmp_path: Path, shown: tuple[Path, list[Row], list[Score]]
) -> None:
    """As many thumbnails as errors; the first one is the film after its case was applied to it."""
    films, rows, scores = shown
    gate_report.write(tmp_path, "inversion", scores, (0.45, 0.55), rows, films)
    judged = tables.judge(scores, (0.45, 0.55), rows)
    wrong = [one for one in judged if one.wrong != tables.RIGHT]
    with (tmp_path / "errors.csv").open() as handle:
        assert len(list(csv.DictReader(handle))) == len(wrong) > 0
    found = page.error_sheets(tmp_path, "inversion", wrong, films)
    assert sum(sheet.films for sheet in found) == len(wrong)
    kind = tables.MISJUDGED if found[0].title == "Misjudged" else tables.NOT_SURE
    first = min(
        (one for one in wrong if one.wrong == kind),
        key=lambda one: (one.score.case, one.place, one.score.score),
    )
    case = next(case for case in gate_cases.CASES["inversion"] if case.name == first.score.case)
    film = case.alter(read_pixels(films / first.score.file))
    with Image.open(tmp_path / found[0].file) as sheet:
        seen = np.asarray(sheet.convert("L"))[page.GAP : page.GAP + page.THUMB, page.GAP :][:, : page.THUMB]
    middle = seen[80:150, 80:150].mean() / 255
    height, width = film.shape
    scale = max(film.shape) / page.THUMB
    top, left = (height - page.THUMB * scale) / 2, (width - page.THUMB * scale) / 2
    true = film[
        int(top + 80 * scale) : int(top + 150 * scale), int(left + 80 * scale) : int(left + 150 * scale)
    ]
    assert middle == pytest.approx(true.mean(), abs=0.03)


def test_sheets_of_an_earlier_report_go(tmp_path: Path, shown: tuple[Path, list[Row], list[Score]]) -> None:
    """An error that is gone must not stay to be looked at."""
    films, rows, scores = shown
    (tmp_path / "misjudged-099.png").write_bytes(b"old")
    (tmp_path / "kept.png").write_bytes(b"not ours")
    gate_report.write(tmp_path, "inversion", scores, (0.0, 0.0), rows, films)
    assert not (tmp_path / "misjudged-099.png").exists()
    assert (tmp_path / "kept.png").exists()


def test_poor_boxes_are_drawn(tmp_path: Path, shown: tuple[Path, list[Row], list[Score]]) -> None:
    """The true box is green and the found one orange, on the film."""
    films, rows, _ = shown
    gate_report.write(tmp_path, "lungs", [], THRESHOLDS, rows, films, boxes=boxes([0.95, 0.5]))
    with Image.open(tmp_path / "boxes-001.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24) or []}
    assert {(0x37, 0xC8, 0x84), (0xFF, 0x8A, 0x3D)} <= colours
    assert (tmp_path / "boxes.csv").exists()


def test_the_weights_that_ship_are_reported_beside_the_rounds(
    tmp_path: Path, shown: tuple[Path, list[Row], list[Score]]
) -> None:
    """Two parts, each with its own tables; the bars on top are those of the sites left out."""
    films, rows, scores = shown
    both = [*scores, *(replace(one, left_out="") for one in scores)]
    html = gate_report.write(tmp_path, "inversion", both, (0.45, 0.55), rows, films).read_text()
    assert gate_report.LEFT_OUT in html
    assert gate_report.SHIPPED in html
    assert (tmp_path / "shipped-counts.csv").exists()


def test_the_summary_for_a_card_is_short_and_whole(shown: tuple[Path, list[Row], list[Score]]) -> None:
    """The bars and the counts by site, every row as wide as its head."""
    _, rows, scores = shown
    text = gate_report.summary("inversion", scores, (0.45, 0.55), rows)
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| 4 turns x 2 polarities |")}
    assert widths == {9}
    assert "| 4 turns x 2 polarities: misjudged | at most 0.05 % |" in text
    assert len(text.splitlines()) < 40


def test_a_gate_without_scores_still_makes_a_page(tmp_path: Path) -> None:
    """Nothing measured, nothing claimed."""
    html = gate_report.write(tmp_path, "rotation", [], THRESHOLDS, [], tmp_path).read_text()
    assert "<b>0</b>bars measured" in html
    assert page.ERRORS in html
