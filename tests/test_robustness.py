"""Damaged films, gates off and on: what is shown, what is counted, and the one plot."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from pipelines import gates
from pipelines.film import Box, Operations, Reason
from pipelines.lab.ask import robustness
from pipelines.lab.ask.robustness import CLEAN, MIX, WRONG_PART, Gated, Listed
from pipelines.lab.films import phantom
from pipelines.lab.report import robustness_report
from pipelines.lab.report.robustness_report import Row

LABELS = ("Mass", "No Finding")


def picture(bright: bool, seed: int) -> np.ndarray:
    """A film whose upper left corner is bright where there is a mass, and whose rim is dark."""
    rng = np.random.default_rng(seed)
    out = np.full((40, 32), 0.3) + rng.normal(0, 0.02, (40, 32))
    out[2:12, 2:12] += 0.35 * bright + rng.normal(0, 0.05)
    return np.clip(out, 0, 1).astype(np.float32)


def ask(pixels: np.ndarray) -> np.ndarray:
    """Reads the corner where masses lie, and only there: a turned film fools it."""
    height, width = pixels.shape
    mean = float(pixels[2 : height // 3, 2 : width // 3].mean())
    return np.array([np.clip(mean, 0, 1), np.clip(1 - mean, 0, 1)])


def gate(pixels: np.ndarray) -> Gated:
    """Knows a turned film by its shape, an inverted one by its greys, another part by its size."""
    if pixels.shape == (20, 20):
        return Gated("held", reason="OTHER_PART")
    if pixels.shape == (32, 40):
        return Gated("held", reason="ROTATION_UNSURE")
    if pixels.mean() > 0.5:
        return Gated("correct", (1 - pixels).astype(np.float32), "INVERTED")
    return Gated("pass", pixels)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Sixty chests, half with a mass, and twenty bright hands."""
    pixels = {f"chest{n}": picture(n % 2 == 0, n) for n in range(60)}
    pixels |= {f"hand{n}": np.full((20, 20), 0.45, np.float32) for n in range(20)}
    films = [Listed(f"chest{n}", f"p{n // 2}", (float(n % 2 == 0), float(n % 2))) for n in range(60)]
    films += [Listed(f"hand{n}", f"h{n}") for n in range(20)]
    told = robustness.answers(films, pixels.__getitem__, ask, gate, LABELS, progress=False)
    return robustness_report.judged(told, LABELS, draws=100)


def row(rows: list[Row], kind: str, gates: bool) -> Row:
    return next(one for one in rows if (one.kind, one.gates) == (kind, gates))


def test_each_kind_is_shown_without_gates_and_with_them(rows: list[Row]) -> None:
    """Clean films, every damage, wrong parts, and the mix of all that is damaged."""
    kinds = [CLEAN, *(damage.name for damage in robustness.DAMAGES), WRONG_PART, MIX]
    assert [(one.kind, one.gates) for one in rows] == [(k, g) for k in kinds for g in (False, True)]
    assert row(rows, MIX, False).sent == 60 * len(robustness.DAMAGES) + 20
    assert all(one.reached == one.sent for one in rows if not one.gates)


def test_damage_hurts_without_gates_and_not_with_them(rows: list[Row]) -> None:
    """An inverted film is read the wrong way round; put right it is read like the clean one."""
    without, with_ = row(rows, "inverted", False), row(rows, "inverted", True)
    assert row(rows, CLEAN, False).macro.value > 0.99
    assert without.macro.value < 0.05
    assert without.against_clean.interval[1] < -0.9
    assert with_.macro.value == pytest.approx(row(rows, CLEAN, False).macro.value)
    assert (with_.corrected, with_.held) == (60, 0)


def test_what_is_held_leaves_the_set(rows: list[Row]) -> None:
    """Turned by 90 none is read: there is no area, and none is made up."""
    held = row(rows, "turned 90", True)
    assert (held.sent, held.reached, held.held) == (60, 0, 60)
    assert math.isnan(held.macro.value)
    assert math.isnan(held.same_films)


def test_films_of_another_part_are_negatives_among_clean_films(rows: list[Row]) -> None:
    """A hand as bright as a mass costs area without gates; with them no hand is read."""
    without, with_ = row(rows, WRONG_PART, False), row(rows, WRONG_PART, True)
    assert (without.sent, without.reached, with_.reached) == (20, 20, 0)
    assert with_.macro.value == pytest.approx(row(rows, CLEAN, True).macro.value)
    assert without.macro.value <= with_.macro.value


def test_that_nothing_was_found_is_no_condition(rows: list[Row]) -> None:
    """No Finding is neither averaged nor listed."""
    assert [name for name, _ in rows[0].labels] == ["Mass"]


def test_the_same_films_clean_show_what_the_damage_did(rows: list[Row]) -> None:
    """All were read and all had been fine."""
    assert row(rows, "inverted", False).same_films == row(rows, CLEAN, False).macro.value


def test_of_exclusive_classes_any_but_normal_counts() -> None:
    """Three classes: the area is that of 1 - p:Normal, and hands have nothing."""
    labels = ("Normal", "Viral")
    films = [Listed(f"f{n}", f"p{n}", (float(n % 2), float(n % 2 == 0))) for n in range(24)] + [
        Listed("hand", "h")
    ]

    def sure(pixels: np.ndarray) -> np.ndarray:
        return np.array([1 - pixels.mean(), pixels.mean()])

    def read(file: str) -> np.ndarray:
        number = int(file[1:]) if file != "hand" else 1
        return np.full((16, 16), 0.8 if number % 2 == 0 else 0.2, np.float32)

    told = robustness.answers(films, read, sure, lambda a: Gated("pass", a), labels, progress=False)
    found = robustness_report.judged(told, labels, exclusive=True, draws=50)
    assert [name for name, _ in found[0].labels] == ["Viral", "any but Normal"]
    assert row(found, CLEAN, False).macro.value == 1
    assert row(found, "inverted", False).macro.value == 0


def test_too_few_films_with_any_condition_are_refused() -> None:
    """An average over nothing would be nan all the way."""
    told = robustness.answers(
        [Listed("a", "p", (1.0, 0.0))], lambda _: picture(True, 1), ask, gate, LABELS, progress=False
    )
    with pytest.raises(ValueError, match="no condition has 10 clean films"):
        robustness_report.judged(told, LABELS)


def test_answers_are_kept_and_not_asked_again(tmp_path: Path) -> None:
    """A run that was stopped goes on; a table of another classifier is refused."""
    path, opened = tmp_path / "answers.csv", []

    def read(file: str) -> np.ndarray:
        opened.append(file)
        return picture(True, int(file[1:]))

    films = [Listed(f"f{n}", f"p{n}", (float(n % 2), math.nan)) for n in range(3)]
    first = robustness.answers(films[:2], read, ask, gate, LABELS, path, progress=False)
    again = robustness.answers(films, read, ask, gate, LABELS, path, progress=False)
    assert opened == ["f0", "f1", "f2"]
    assert [one.kind for one in again[: len(first)]] == [one.kind for one in first]
    assert math.isnan(again[0].truth[1])
    with pytest.raises(ValueError, match="another classifier"):
        robustness.read_answers(path, ("Edema",))


def test_the_damage_of_a_film_is_the_same_in_every_run() -> None:
    """It hangs on the film's name alone, and changes the film."""
    film = picture(True, 5)
    for damage in robustness.DAMAGES:
        made = [damage.make(film, np.random.default_rng(3)) for _ in range(2)]
        np.testing.assert_array_equal(*made)
        assert made[0].shape != film.shape or not np.array_equal(made[0], film), damage.name
        assert 0 <= made[0].min() <= made[0].max() <= 1


def test_table_and_plot_are_written(rows: list[Row], tmp_path: Path) -> None:
    """A line a kind and a way, in CSV and in Markdown, and two looks of one plot."""
    made = robustness_report.write(tmp_path, "chest14", rows, "of one condition")
    lines = list(csv.DictReader(made.table.read_text().splitlines()))
    assert len(lines) == len(rows)
    assert {line["gates"] for line in lines} == {"with", "without"}
    assert (
        next(line["AUC"] for line in lines if (line["films"], line["gates"]) == ("turned 90", "with")) == "–"
    )
    assert "damaged mix" in made.markdown
    for name in made.plot:
        assert "100.0% put right" in (tmp_path / name).read_text()


# --- the gates in front -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> robustness.Gate:
    """The gates that ship and the default policy."""
    return robustness.gate_of(gates.load())


def test_the_gates_put_a_turned_film_right(shipped: robustness.Gate) -> None:
    """A synthetic chest passes as it is; turned and inverted it comes back the same, pixel by pixel."""
    upright = phantom.render("frontal", 3)
    assert shipped(upright).act == "pass"
    found = shipped(np.ascontiguousarray(1 - np.rot90(upright, -1)))
    assert (found.act, found.reason) == ("correct", "INVERTED|ROTATED_90")
    assert found.pixels == pytest.approx(upright, abs=1e-6)


def test_the_gates_hold_a_hand(shipped: robustness.Gate) -> None:
    """And say why, with words of docs/reasons.md."""
    found = shipped(phantom.render("hand", 3))
    assert (found.act, found.pixels) == ("held", None)
    assert set(found.reason.split("|")) <= set(Reason.__members__)


def test_a_correction_crops_first_and_turns_then() -> None:
    """As the corrected copy of a DICOM film is made."""
    film = np.arange(40, dtype=np.float32).reshape(4, 10) / 40
    made = robustness.corrected(film, Operations(Box(0.5, 0.0, 1.0, 0.5), turn=90, invert=True))
    np.testing.assert_allclose(made, 1 - np.rot90(film[:2, 5:], -1))


def test_a_label_that_nobody_looked_for_is_no_negative() -> None:
    """Of imported classes only those are judged that the manifest tells of."""
    assert robustness.task_of(("Mass", "Lung Opacity")).labels == ("Mass",)
    assert robustness.task_of(("Normal", "Viral")).exclusive
    with pytest.raises(ValueError, match="tells nothing of Fracture"):
        robustness.task_of(("Fracture",))


def test_only_films_that_are_set_aside_are_shown(tmp_path: Path) -> None:
    """And no more hands than chests, which have nothing to be found in them."""
    head = "file,source,site,split,body_part,view,projection,labels,age,sex,group,terms,lung_mask,note,flag"
    lines = [
        f"c{n},s,nih,{'accept' if n < 2 else ''},chest,frontal,PA,Mass,50,F,p{n},open,,," for n in range(4)
    ]
    lines += [f"h{n},s,hands,accept,hand,not_chest,,,,,h{n},open,,," for n in range(5)]
    lines += ["ct,s,ct,accept,non-radiograph:HeadCT,not_chest,,,,,ct,open,,,"]
    (tmp_path / "manifest.csv").write_text("\n".join((head, *lines)))
    for n in range(4):
        (tmp_path / f"c{n}").touch()
    shown = robustness.films_of(tmp_path, robustness.task_of(("Mass", "Edema")), "accept")
    assert sorted(film.file for film in shown[:2]) == ["c0", "c1"]
    assert [film.truth for film in shown] == [(1.0, 0.0), (1.0, 0.0), (), ()]
    assert all(film.file.startswith("h") for film in shown[2:])
    with pytest.raises(ValueError, match="set aside as 'test'"):
        robustness.films_of(tmp_path, robustness.task_of(("Mass",)), "test")
