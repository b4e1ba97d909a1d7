"""How films are shown to a gate, and what is kept of its answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.lab.ask import gate_ask, gate_cases
from pipelines.lab.ask.gate_ask import Span
from pipelines.lab.ask.gate_cases import CASES, Pixels
from pipelines.lab.films import phantom
from pipelines.lab.films.data import Row
from pipelines.lab.measure import scores


def row(file: str, group: str = "", site: str = "nih", view: str = "frontal", **other: str) -> Row:
    """A film of the manifest."""
    known = {"source": site, "part": "chest", "terms": "open", "age": "50", "note": "", "mask": ""}
    return Row(file=file, site=site, group=group or file, view=view, **(known | other))


def case(gate: str, name: str) -> gate_cases.Case:
    """A case by its name."""
    return next(case for case in CASES[gate] if case.name == name)


def corner() -> Pixels:
    """A dark film, bright at its top left."""
    a = np.zeros((60, 40), np.float32)
    a[:10, :8] = 1
    return a


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Six phantom chests as pictures, and one white square."""
    for seed in range(6):
        grey = (phantom.render("frontal", seed, (128, 104)) * 255).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / f"{seed}.png")
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(tmp_path / "white.png")
    return tmp_path


@pytest.mark.parametrize(
    ("gate", "name", "bright_at"),
    [
        ("rotation", "upright", (0, 0)),
        ("rotation", "turned 90", (0, -1)),
        ("rotation", "turned 180", (-1, -1)),
        ("rotation", "turned 270", (-1, 0)),
        ("rotation", "upright, mirrored", (0, -1)),
        ("rotation", "flipped top to bottom", (-1, 0)),
        ("inversion", "right polarity, turned 270", (-1, 0)),
        ("mirror", "mirrored", (0, -1)),
    ],
)
def test_a_film_is_turned_clockwise_as_its_case_says(
    gate: str, name: str, bright_at: tuple[int, int]
) -> None:
    """The bright corner comes to lie where a viewer would see it; all other corners stay dark."""
    shown = case(gate, name).alter(corner())
    corners = {at: shown[at] for at in ((0, 0), (0, -1), (-1, 0), (-1, -1))}
    assert [at for at, value in corners.items() if value > 0.5] == [bright_at]


def test_every_gate_is_shown_what_its_bar_speaks_of() -> None:
    """Four turns; eight combinations and two with a border; both ways for every part; and markers."""
    assert {c.wanted(row("a")) for c in CASES["rotation"][:4]} == {
        ("good",),
        ("ROTATED_90",),
        ("ROTATED_180",),
        ("ROTATED_270",),
    }
    assert sum(c.wanted(row("a")) == ("good",) for c in CASES["inversion"]) == 5
    assert sum(c.wanted(row("a")) == ("INVERTED",) for c in CASES["inversion"]) == 5
    assert all("good" not in c.wanted(row("a", view="not_chest")) for c in CASES["anatomy"])
    assert all(c.wanted(row("a")) == ("good",) for c in CASES["anatomy"])
    assert not any(c.fits(row("a", view="lateral")) for c in CASES["mirror"])


def test_no_name_is_given_twice() -> None:
    """A score is found again by its film and its case."""
    for cases in CASES.values():
        assert len({c.name for c in cases}) == len(cases)


def test_a_tilt_is_clockwise_and_fills_with_black() -> None:
    """A bar at the top right of the middle goes down with a clockwise tilt."""
    a = np.zeros((101, 101), np.float32)
    a[45:56, 60:90] = 1
    shown = gate_cases.tilted(a, 30, cropped=False)
    rows = np.flatnonzero(shown.any(axis=1))
    assert rows.mean() > 55
    assert gate_cases.tilted(np.ones_like(a), 30, cropped=False)[0, 0] == 0


@pytest.mark.parametrize("degrees", [-45, -20, 5, 35, 45])
@pytest.mark.parametrize("shape", [(100, 100), (90, 140), (150, 80)])
def test_a_cropped_tilt_shows_no_corner_and_keeps_its_shape(degrees: int, shape: tuple[int, int]) -> None:
    """A white film stays white up to the edge, and no more is lost than the geometry asks for."""
    shown = gate_cases.tilted(np.ones(shape, np.float32), degrees, cropped=True)
    assert shown.min() > 0.99
    assert shown.shape[1] / shown.shape[0] == pytest.approx(shape[1] / shape[0], abs=0.05)
    if shape == (100, 100) and abs(degrees) == 45:
        assert 67 <= shown.shape[0] <= 71  # 1 / sqrt(2)


def test_tilts_up_to_a_slouch_must_be_called_upright_and_others_want_nothing() -> None:
    """15 degrees is still upright; 20 is only looked at."""
    for cropped in (False, True):
        assert case("rotation", gate_cases.tilt_name(-15, cropped)).wanted(row("a")) == ("good",)
        assert case("rotation", gate_cases.tilt_name(20, cropped)).wanted(row("a")) == ()


def test_a_white_border_is_white_in_both_polarities_and_the_same_in_every_run() -> None:
    """Shutters are drawn white whatever the film's polarity; the inside is untouched."""
    a = np.full((100, 80), 0.3, np.float32)
    for shown, inside in (
        (gate_cases.white_border(a), 0.3),
        (case("inversion", "inverted, white border").alter(a), 0.7),
    ):
        edges = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
        assert (edges == 1).all()
        assert shown[20:80, 20:60] == pytest.approx(inside)
    np.testing.assert_array_equal(gate_cases.white_border(a), gate_cases.white_border(a))


def test_markers_near_the_edge_are_painted_out_and_the_middle_is_kept() -> None:
    """A letter in a corner goes; the same letter on the spine, and a long bone at the edge, stay."""
    a = np.full((200, 200), 0.2, np.float32)
    a[12:20, 15:19] = a[100:108, 98:102] = 1
    a[40:160, 4:9] = 0.9
    shown = gate_cases.without_markers(a)
    assert shown[10:22, 13:21].max() < 0.35
    np.testing.assert_array_equal(shown[95:115, 90:110], a[95:115, 90:110])
    np.testing.assert_array_equal(shown[60:140, 4:9], a[60:140, 4:9])


def test_the_letter_speaks_against_the_anatomy() -> None:
    """R at the right of the picture, where the patient's left is; L there once it is mirrored."""
    a = np.full((200, 160), 0.4, np.float32)
    wrong = case("mirror", "letter on the wrong side").alter(a)
    hidden = case("mirror", "mirrored, letter as if not").alter(a)
    for shown in (wrong, hidden):
        inked = np.argwhere(shown > 0.8)
        assert len(inked) > 10
        assert inked[:, 1].min() > 120
    assert (wrong != hidden).any()


def test_what_is_scored_is_what_was_shown(films: Path) -> None:
    """The score of a real question, the mean brightness, turns round with the polarity."""
    asked = gate_ask.score_films(
        "inversion", lambda a: (float(a.mean()), "INVERTED"), films, [row("1.png")], "web", progress=False
    )
    by_case = {score.case: score for score in asked}
    assert len(by_case) == 10
    assert by_case["right polarity"].score + by_case["inverted"].score == pytest.approx(1, abs=1e-5)
    assert by_case["inverted, turned 90"].wanted == "INVERTED"
    assert by_case["inverted"].left_out == "web"


def test_a_film_is_read_once_for_all_its_cases(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding costs more than looking."""
    read: list[Path] = []
    true = gate_ask.read_pixels
    monkeypatch.setattr(gate_ask, "read_pixels", lambda path, known: read.append(path) or true(path, known))
    rows = [row("1.png"), row("2.png")]
    gate_ask.score_films("mirror", lambda _: (0.5, "MIRROR_SUSPECTED"), films, rows, progress=False)
    assert read == [films / "1.png", films / "2.png"]


def test_a_stopped_run_goes_on_where_it_was(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the table holds is not asked again, and nothing stands in it twice."""
    monkeypatch.setattr(gate_ask, "CHUNK", 2)
    rows = [row(f"{seed}.png") for seed in range(6)]
    out, asked = tmp_path / "scores.csv", []

    def ask(a: Pixels) -> tuple[float, str]:
        asked.append(a)
        if len(asked) == 40:
            raise KeyboardInterrupt
        return float(a.mean()), "INVERTED"

    with pytest.raises(KeyboardInterrupt):
        gate_ask.score_films("inversion", ask, films, rows, out=out, progress=False)
    assert len(scores.read(out)) == 20  # two films of ten cases were safe
    whole = gate_ask.score_films("inversion", ask, films, rows, out=out, progress=False)
    assert len(asked) == 40 + 40
    assert len({(score.file, score.case) for score in whole}) == len(whole) == 60
    assert [score.case for score in scores.read(out)] == [score.case for score in whole]


def test_another_round_is_asked_anew(films: Path, tmp_path: Path) -> None:
    """The same film in another round is another network's score."""
    out = tmp_path / "scores.csv"
    for round_ in ("nih", "web"):
        table = gate_ask.score_films(
            "anatomy", lambda _: (0.5, "LATERAL"), films, [row("1.png")], round_, out=out, progress=False
        )
    assert sorted(score.left_out for score in table) == ["nih", "nih", "web", "web"]


def test_tilts_are_shown_of_one_film_each_of_a_few_patients(films: Path) -> None:
    """At most so many patients a site; never two films of one."""
    cases = [gate_cases.Case("tilt", gate_cases.frontal, gate_cases.as_it_is, lambda _: (), most=2)]
    rows = [row(f"{seed}.png", group=f"patient {seed // 2}") for seed in range(6)]
    rows.append(row("white.png", site="web"))
    asked = gate_ask.score_films("rotation", lambda _: (1.0, ""), films, rows, cases=cases, progress=False)
    assert len(asked) == 3
    assert len({score.group for score in asked if score.site == "nih"}) == 2


def test_the_overlap_of_two_boxes() -> None:
    """Half of each shared is a third of both; apart is none; the same is all."""
    a = (0.0, 0.0, 0.5, 0.5)
    assert gate_ask.overlap(a, (0.25, 0.0, 0.75, 0.5)) == pytest.approx(1 / 3)
    assert gate_ask.overlap(a, (0.6, 0.6, 0.9, 0.9)) == 0
    assert gate_ask.overlap(a, a) == pytest.approx(1)


def test_the_share_of_lung_inside_of_a_box() -> None:
    """Two equal lungs, one of them outside."""
    mask = np.zeros((100, 100), bool)
    mask[20:80, 10:40] = mask[20:80, 60:90] = True
    assert gate_ask.covered(mask, (0.0, 0.0, 0.5, 1.0)) == pytest.approx(0.5)
    assert gate_ask.covered(mask, (0.1, 0.2, 0.9, 0.8)) == 1


def test_boxes_are_compared_in_fractions_of_the_film(tmp_path: Path) -> None:
    """A true box in pixels, a found one in fractions, a mask, and a film where nothing was found."""
    mask = np.zeros((100, 200), np.uint8)
    mask[20:80, 40:160] = 255
    for name in ("film.png", "mask.png", "dark.png"):
        Image.fromarray(mask if name != "dark.png" else mask * 0).save(tmp_path / name)

    def find(a: Pixels) -> Span | None:
        return (0.2, 0.2, 0.8, 0.5) if a.any() else None

    rows = [
        row("film.png", mask="mask.png", box="40 20 160 80"),
        row("film.png", box="40 20 160 80"),
        row("dark.png", mask="mask.png", box="40 20 160 80"),
        row("film.png"),
    ]
    found = gate_ask.box_scores(find, tmp_path, rows, "web", tmp_path / "boxes.csv", progress=False)
    assert [box.iou for box in found] == pytest.approx([0.5, 0.5, 0.0])
    assert [box.inside for box in found] == pytest.approx([0.5, float("nan"), 0.0], nan_ok=True)
    assert [(box.found, box.left_out) for box in scores.read_boxes(tmp_path / "boxes.csv")][2] == (
        "",
        "web",
    )
