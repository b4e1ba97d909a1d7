"""The gates as a chain: order, what is not asked, and that everything fails closed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models import asking, bundle, nets
from models.bundle import Bundle, Card
from pipelines import gates
from pipelines.film import Box, Film, Finding, Header, Reason, Verdict
from pipelines.gates import Gates, anatomy, lungs, rotation
from pipelines.gates.anatomy import AnatomyGate
from pipelines.gates.inversion import InversionGate, told_twice
from pipelines.gates.lungs import LungsGate
from pipelines.gates.mirror import MirrorGate, claimed
from pipelines.gates.pose import Eyes, Pose
from pipelines.gates.rotation import RotationGate
from pipelines.lab.films import phantom

SURE = {"low": 0.1, "high": 0.9, "least": 0.02, "touching": 0.2}
DX = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage, for presentation
ODD_FILMS = {
    "black": np.zeros((512, 420), dtype=np.float32),
    "white": np.ones((300, 512), dtype=np.float32),
    "nan": np.full((64, 64), np.nan, dtype=np.float32),
    "one pixel": np.ones((1, 1), dtype=np.float32),
    "noise": np.random.default_rng(0).random((512, 512), dtype=np.float32),
}


def model(kind: str, classes: int) -> Bundle:
    """A network that was never trained, with ordinary thresholds."""
    torch.manual_seed(0)
    card = Card(kind, kind, tuple(map(str, range(classes))), SURE, "digest")
    weights = {name: value.numpy() for name, value in nets.KINDS[kind](classes).state_dict().items()}
    return Bundle(card, asking.opened(kind, classes, weights))


def film(pixels: np.ndarray) -> Film:
    return Film(Header(sop_class_uid=DX, modality="DX"), pixels)


def says(name: str, verdict: Verdict, reason: Reason | None = None) -> object:
    """A gate that always answers the same and counts nothing."""

    class Same:
        def __call__(self, film: Film) -> tuple[Finding, ...]:
            return (Finding(name, verdict, reason=reason),)

    same = Same()
    same.name = name  # type: ignore[attr-defined]
    return same


@pytest.mark.parametrize("pixels", ODD_FILMS.values(), ids=ODD_FILMS)
def test_no_gate_raises_for_any_film(pixels: np.ndarray) -> None:
    """Black, white, NaN, one pixel, noise: each gate answers with finite numbers."""
    turns, polarity = model("Turns", 8), model("Polarity", 1)
    eyes = Eyes(turns.net, polarity.net)
    chain = (
        RotationGate(eyes, turns),
        InversionGate(eyes, polarity),
        AnatomyGate(eyes, model("Parts", 10)),
        MirrorGate(eyes, model("Antisymmetric", 1)),
        LungsGate(eyes, model("lung_net", 1)),
    )
    for gate in chain:
        for finding in gate(film(pixels)):
            assert finding.gate == gate.name
            assert np.isfinite(finding.score)
            assert (finding.reason is None) == (finding.verdict is Verdict.GOOD)


def test_the_gates_stand_in_order_and_without_models_hold_every_film(tmp_path: Path) -> None:
    """No bundles at all: what is computed still speaks, the five networks answer FAILED MODEL_MISSING."""
    ready = gates.load(tmp_path)
    names = [gate.name for gate in ready.gates]
    assert names == ["header", "integrity", "exposure", "anatomy", "inversion", "rotation", "mirror", "lungs"]
    failed = [f for f in ready.look(film(phantom.render("frontal", 3))) if f.verdict is Verdict.FAILED]
    assert {f.gate for f in failed} == set(names[3:])
    assert {f.reason for f in failed} == {Reason.MODEL_MISSING}
    assert len(ready.problems()) == 5
    assert ready.models() == {}


def test_a_card_without_thresholds_closes_its_gate(tmp_path: Path) -> None:
    """Weights that load but were never calibrated must not judge."""
    bundle.save(tmp_path / "rotation", Card("rotation", "Turns", tuple("abcdefgh"), SURE), nets.Turns())
    bundle.save(tmp_path / "inversion", Card("inversion", "Polarity", ("a",)), nets.Polarity())
    assert "inversion: the card gives no threshold 'low'" in gates.load(tmp_path).problems()


def test_another_variant_of_a_model_is_another_folder(tmp_path: Path) -> None:
    """{"rotation": "open"} takes `rotation-open`, and what is missing is named by it."""
    problems = gates.load(tmp_path, {"rotation": "open"}).problems()
    assert any(problem.startswith("rotation: rotation-open") for problem in problems)


def test_inside_a_large_border_the_other_gates_see_the_film_alone() -> None:
    """They are shown what the crop will show, and their boxes are told in the whole picture."""
    shapes = []

    class Border:
        name = "exposure"

        def __call__(self, film: Film) -> tuple[Finding, ...]:
            box = Box(0.25, 0.5, 0.75, 1.0)
            return (Finding("exposure", Verdict.BAD, reason=Reason.BORDER, box=box),)

    class Boxes:
        name = "lungs"

        def __call__(self, film: Film) -> tuple[Finding, ...]:
            shapes.append(film.pixels.shape)
            return (Finding("lungs", Verdict.GOOD, box=Box(0.5, 0.0, 1.0, 0.5)),)

    findings = Gates((Border(), Boxes()), {}).look(film(np.zeros((100, 80), dtype=np.float32)))
    assert shapes == [(50, 40)]
    assert findings[1].box == Box(0.5, 0.5, 0.75, 0.75)


def test_a_region_is_one_more_gate_and_never_takes_the_name_of_another(tmp_path: Path) -> None:
    """After those for chests; not asked of what is surely a frontal chest, closed when its bundle is bad."""
    limits = {"low": 0.1, "high": 0.9, "box": 0.3, "most": 2}
    for name in ("hip", "lungs"):
        card = Card(name, "RegionNet", tuple("abcdef"), limits)
        bundle.save(tmp_path / f"region-{name}", card, nets.KINDS["RegionNet"](6))
    folders = [tmp_path / "region-hip", tmp_path / "region-lungs", tmp_path / "gone"]
    ready = gates.load(regions=folders)
    assert [gate.name for gate in ready.gates[-3:]] == ["hip", "region-lungs", "gone"]
    problems = "; ".join(ready.problems())
    assert "region-lungs: a region cannot be called lungs" in problems
    assert "gone: gone: no card" in problems
    hip, shown = ready.gates[-3], film(phantom.render("hand", 3))
    for verdict, asked in ((Verdict.GOOD, ["anatomy"]), (Verdict.UNSURE, ["anatomy", "hip"])):
        findings = Gates((says("anatomy", verdict), hip), {}).look(shown)  # type: ignore[arg-type]
        assert [finding.gate for finding in findings] == asked


def test_a_gate_that_raises_is_a_finding_of_its_own() -> None:
    """The others still speak, and the finding names the type of the error and nothing of the film."""

    class Broken:
        name = "rotation"

        def __call__(self, film: Film) -> tuple[Finding, ...]:
            raise ZeroDivisionError("secret")

    findings = Gates((Broken(), says("mirror", Verdict.GOOD)), {}).look(film(ODD_FILMS["black"]))  # type: ignore[arg-type]
    assert [f.verdict for f in findings] == [Verdict.FAILED, Verdict.GOOD]
    assert findings[0].reason is Reason.GATE_FAILED
    assert findings[0].detail == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("first", "reason", "asked"),
    [
        ("header", Reason.NOT_A_FILM, []),
        ("exposure", Reason.BLANK, []),
        ("exposure", Reason.BORDER, ["anatomy", "rotation"]),
        ("anatomy", Reason.OTHER_PART, []),
        ("anatomy", Reason.UNKNOWN_ANATOMY, ["rotation"]),
    ],
)
def test_networks_are_not_asked_what_makes_no_sense(first: str, reason: Reason, asked: list[str]) -> None:
    """Nothing is asked of a blank film, and a hand has no upright."""
    chain = [says(first, Verdict.BAD, reason)]
    chain += [says(name, Verdict.GOOD) for name in ("anatomy", "rotation") if name != first]
    findings = Gates(tuple(chain), {}).look(film(ODD_FILMS["black"]))  # type: ignore[arg-type]
    assert [f.gate for f in findings[1:]] == asked


def test_between_two_answers_a_gate_is_not_sure() -> None:
    """Rotation: upright, turned, and a doubt between two turns. Anatomy: chest, lateral, both, nothing."""
    assert rotation.judged([0.95, 0.05, 0, 0]) == (0.95, Reason.ROTATION_UNSURE)
    assert rotation.judged([0.02, 0, 0, 0.98]) == (pytest.approx(0.01), Reason.ROTATED_270)
    assert rotation.judged([0.0, 0.5, 0, 0.5])[0] == 0.25
    assert rotation.judged([0.3, 0.4, 0.3, 0])[0] < 0.5  # likelier turned than upright: never good
    sure = pose_of(turn_odds=8.0, polarity_odds=8.0)
    assert anatomy.judged([4, -4, *[-9] * 6, 0, 0], sure) == (
        pytest.approx(1, abs=0.01),
        Reason.UNKNOWN_ANATOMY,
    )
    assert anatomy.judged([-4, 3.5, *[-9] * 6, 0, 0], sure)[1] is Reason.LATERAL
    assert anatomy.judged([2, -9, -9, 1.5, *[-9] * 4, 0, 0], sure)[1] is Reason.OTHER_PART
    assert anatomy.judged([-5, *[-5] * 7, 0, 0], sure)[1] is Reason.UNKNOWN_ANATOMY


def test_what_the_pose_networks_doubt_is_less_of_a_chest() -> None:
    """The same picture counts less when nobody can tell which way is up, or what is black."""
    odds = [1.0, *[-1.0] * 7, 0, 0]
    sure, doubtful = pose_of(8.0, 8.0), pose_of(0.5, 1.0)
    assert anatomy.judged(odds, sure)[0] > 0.9
    assert anatomy.judged(odds, doubtful)[0] < 0.3


def pose_of(turn_odds: float, polarity_odds: float) -> Pose:
    """An upright pose of such certainty."""
    return Pose((1, 0, 0, 0), 0.0, 1.0, turn_odds, polarity_odds, np.zeros((1, 1, 128, 128), np.float32))


def test_a_turned_film_is_seen_upright_and_of_right_polarity() -> None:
    """The pose takes back the likeliest turn and polarity; the box of lungs is told as the film lies."""

    turn = np.array([[0.0, 9.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0]], np.float32)
    negative = np.array([[5.0]], np.float32)
    upright = phantom.render("frontal", 4)[:256, :256]
    eyes = Eyes(lambda _: turn, lambda _: negative)
    shown = 1 - np.ascontiguousarray(np.rot90(upright, -1))
    pose = eyes.pose(shown)
    assert pose.turn == 1
    assert pose.tilt_deg == pytest.approx(2.0)
    assert pose.right < 0.01
    assert np.allclose(pose.upright, eyes.see(upright), atol=0.02)
    assert Box(0.1, 0.2, 0.3, 0.6).turned(1) == Box(0.4, 0.1, 0.8, 0.3)
    assert Box(0.1, 0.2, 0.3, 0.6).turned(4) == Box(0.1, 0.2, 0.3, 0.6)


def two_lungs() -> np.ndarray:
    """A mask (128, 128) of two upright blocks and a speck."""
    mask = np.zeros((128, 128), dtype=bool)
    mask[32:96, 16:48] = mask[32:96, 58:90] = mask[4:6, 4:6] = True
    return mask


def test_the_lung_box_ignores_specks_and_sees_the_edge() -> None:
    """Two lungs and a speck: the box is round the lungs; a lung along the left edge is noticed."""
    mask = two_lungs()
    found = lungs.field_of(mask, touching=0.15)
    assert found is not None
    assert found.box == Box(16 / 128, 32 / 128, 90 / 128, 96 / 128)
    assert not found.cut
    assert not found.by_symmetry
    mask[32:96, :16] = True
    assert lungs.field_of(mask, touching=0.15).cut == ("left side",)  # type: ignore[union-attr]
    assert lungs.field_of(np.zeros_like(mask), touching=0.15) is None


def test_a_white_lung_is_boxed_by_the_other() -> None:
    """Without the left half the box still spans both sides, to within the usual gap, and says so."""
    whole, half = two_lungs(), two_lungs()
    half[:, 50:] = False
    full, guessed = (lungs.field_of(mask, touching=0.15) for mask in (whole, half))
    assert full is not None
    assert guessed is not None
    assert guessed.by_symmetry
    assert guessed.box.x1 == pytest.approx(full.box.x1, abs=0.02)
    half[40:50, 60:70] = True  # a remnant of the white lung
    assert lungs.field_of(half, touching=0.15).by_symmetry  # type: ignore[union-attr]


def test_the_crop_for_a_classifier_stays_inside_the_film() -> None:
    """The lung box and a margin."""
    assert lungs.crop_of(Box(0.01, 0.2, 0.9, 0.99)) == Box(0.0, pytest.approx(0.16), pytest.approx(0.94), 1.0)


def child(score: float, age: float | None) -> list[Reason | None]:
    """The reasons of the anatomy gate for a sure frontal chest that looks so much like a child's."""

    def sure(films: np.ndarray) -> np.ndarray:
        odds = np.full((len(films), 10), -12.0, np.float32)
        odds[:, 0], odds[:, 9] = 12.0, float(np.log(score / (1 - score)))
        return odds

    turns, polarity = model("Turns", 8), model("Polarity", 1)
    card = Card("anatomy", "Parts", tuple("abcdefghij"), SURE, "digest")
    gate = AnatomyGate(Eyes(turns.net, polarity.net), Bundle(card, sure))
    header = Header(sop_class_uid=DX, modality="DX", age_years=age)
    return [finding.reason for finding in gate(Film(header, phantom.render("frontal", 3)))]


@pytest.mark.parametrize(
    ("score", "age", "reasons"),
    [
        (0.99, 50, [None, Reason.AGE_CONTRADICTS]),
        (0.99, 3, [None]),
        (0.99, 15, [None]),
        (0.99, None, [None]),
        (0.01, 3, [None]),
        (0.60, 50, [None]),
    ],
)
def test_a_chest_of_another_age_than_the_header_says(
    score: float, age: float | None, reasons: list[Reason | None]
) -> None:
    """Only when it is surely a child's and the header says adult: nobody has shown that the reverse holds."""
    assert child(score, age) == reasons


def test_our_own_gates_judge_a_phantom_as_a_radiographer_would() -> None:
    """Upright, turned, inverted; a hand and a lateral are no frontal chest."""
    ready = gates.load()
    if ready.problems():
        pytest.skip(f"not all models are here: {ready.problems()}")
    upright = phantom.render("frontal", 3)
    seen = {
        "upright": ready.look(film(upright)),
        "turned": ready.look(film(np.ascontiguousarray(np.rot90(upright, -1)))),
        "inverted": ready.look(film(1 - upright)),
        "hand": ready.look(film(phantom.render("hand", 3))),
        "lateral": ready.look(film(phantom.render("lateral", 3))),
    }
    reasons = {name: [f.reason for f in findings if f.reason] for name, findings in seen.items()}
    assert not set(reasons["upright"]) - {Reason.LUNGS_CUT_OFF}
    assert Reason.ROTATED_90 in reasons["turned"]
    assert Reason.INVERTED in reasons["inverted"]
    assert Reason.OTHER_PART in reasons["hand"]
    assert Reason.LATERAL in reasons["lateral"]


@pytest.mark.parametrize(
    ("photometric", "shape", "ambiguous"),
    [
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "INVERSE", False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "", False),  # a CR says it once
        ("MONOCHROME2", "LIN OD", False),
        ("RGB", "INVERSE", False),
    ],
)
def test_a_header_that_says_the_polarity_twice_must_say_one_thing(
    photometric: str, shape: str, ambiguous: bool
) -> None:
    """PS3.3 C.8.11.3.1.2; whom a reader believes is anybody's guess."""
    found = told_twice(Header(photometric=photometric, presentation_shape=shape))
    assert [finding.reason for finding in found] == [Reason.POLARITY_AMBIGUOUS] * ambiguous


def mirrored(probability: float, *orientation: str) -> Finding:
    """What the gate says of an upright film, with the thresholds that ship."""

    class Upright(Eyes):
        def pose(self, pixels: np.ndarray) -> Pose:
            return pose_of(8.0, 8.0)

    thresholds = {"low": 0.0016, "high": 0.0016}
    card = Card("mirror", "Antisymmetric", ("mirrored",), thresholds, "digest")
    header = Header(orientation=orientation)
    odds = np.array([[np.log(probability / (1 - probability))]])
    (found,) = MirrorGate(Upright(), Bundle(card, lambda _: odds))(Film(header, np.zeros((8, 8), np.float32)))
    return found


@pytest.mark.parametrize(
    ("probability", "orientation", "verdict", "words"),
    [
        (0.9999, (), Verdict.BAD, "mirrored, p 0.9999"),
        (0.989, (), Verdict.GOOD, "perhaps mirrored, p 0.989, which is suspected from 0.9984 on"),
        (0.02, (), Verdict.GOOD, "not mirrored, p 0.98"),
        (0.989, ("L", "F"), Verdict.GOOD, "perhaps mirrored, p 0.989, which is suspected from 0.9984 on"),
        (0.989, ("R", "F"), Verdict.BAD, "mirrored, p 0.989; Patient Orientation R\\F says so, too"),
        (
            0.02,
            ("R", "F"),
            Verdict.GOOD,
            "not mirrored, p 0.98; Patient Orientation R\\F says mirrored; the picture alone decides",
        ),
    ],
)
def test_the_words_of_the_mirror_gate_say_what_it_found(
    probability: float, orientation: tuple[str, ...], verdict: Verdict, words: str
) -> None:
    """What passes is not called mirrored; a header that calls it so makes a doubt a suspicion."""
    found = mirrored(probability, *orientation)
    assert (found.verdict, found.detail) == (verdict, words)


def test_a_header_calls_a_film_mirrored_however_it_lies() -> None:
    """R\\F in its four turns, also with more letters; a lateral film says nothing of it."""
    for told in (("R", "F"), ("H", "R"), ("L", "H"), ("F", "L")):
        assert claimed(Header(orientation=told))
    assert claimed(Header(orientation=("RA", "FP"))) == "RA\\FP"
    for told in (("L", "F"), ("H", "L"), ("R", "H"), ("F", "R"), ("A", "F"), ("R",), ()):
        assert not claimed(Header(orientation=told))
