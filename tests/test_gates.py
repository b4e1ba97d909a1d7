"""The gates as a chain: order, what is not asked, and that everything fails closed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models import bundle, nets, phantom
from models.bundle import Bundle, Card
from pipelines import gates
from pipelines.film import Film, Finding, Header, Reason, Verdict
from pipelines.gates import Gates
from pipelines.gates.anatomy import AnatomyGate
from pipelines.gates.inversion import InversionGate
from pipelines.gates.lungs import LungsGate, box_of, touched, two_largest
from pipelines.gates.mirror import MirrorGate
from pipelines.gates.rotation import RotationGate

SURE = {"low": 0.1, "high": 0.9, "far_frontal": 2.0, "far": 3.0, "least": 0.02, "touching": 0.2}
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
    return Bundle(card, nets.fused(nets.KINDS[kind](classes)))


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
    rotation = RotationGate(model("Classifier", 4))
    mirror = MirrorGate(model("Classifier", 4), model("Antisymmetric", 1))
    others = (
        InversionGate(model("Classifier", 2)),
        AnatomyGate(model("Familiar", 4)),
        LungsGate(model("lung_net", 1)),
    )
    for gate in (rotation, mirror, *others):
        (finding,) = gate(film(pixels))
        assert finding.gate == gate.name
        assert np.isfinite(finding.score)
        assert (finding.reason is None) == (finding.verdict is Verdict.GOOD)


def test_the_gates_stand_in_order_and_without_models_hold_every_film(tmp_path: Path) -> None:
    """No bundles at all: header and exposure still speak, the five networks answer FAILED MODEL_MISSING."""
    ready = gates.load(tmp_path)
    names = [gate.name for gate in ready.gates]
    assert names == ["header", "exposure", "anatomy", "inversion", "rotation", "mirror", "lungs"]
    failed = [f for f in ready.look(film(phantom.render("frontal", 3))) if f.verdict is Verdict.FAILED]
    assert {f.gate for f in failed} == set(names[2:])
    assert {f.reason for f in failed} == {Reason.MODEL_MISSING}
    assert len(ready.problems()) == 5
    assert ready.models() == {}


def test_a_card_without_thresholds_closes_its_gate(tmp_path: Path) -> None:
    """Weights that load but were never calibrated must not judge."""
    bundle.save(tmp_path / "inversion", Card("inversion", "Classifier", ("a", "b")), nets.Classifier(2))
    assert "inversion: the card gives no threshold 'low'" in gates.load(tmp_path).problems()


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


def test_between_the_thresholds_a_gate_is_not_sure() -> None:
    """Rotation: upright, turned, and a doubt between two turns; anatomy: known, other, and far from all."""
    rotation, anatomy = RotationGate(model("Classifier", 4)), AnatomyGate(model("Familiar", 4))
    assert rotation._verdict(0, [0.95, 0.05, 0, 0]) == (Verdict.GOOD, None)
    assert rotation._verdict(3, [0.02, 0, 0, 0.98]) == (Verdict.BAD, Reason.ROTATED_270)
    assert rotation._verdict(3, [0.0, 0.5, 0, 0.5]) == (Verdict.UNSURE, Reason.ROTATION_UNSURE)
    assert anatomy._verdict(0, 0.95, [1, 9, 9, 9]) == (Verdict.GOOD, None)
    assert anatomy._verdict(0, 0.95, [2.1, 9, 9, 9]) == (Verdict.UNSURE, Reason.UNKNOWN_ANATOMY)
    assert anatomy._verdict(1, 0.01, [9, 1, 9, 9]) == (Verdict.BAD, Reason.LATERAL)
    assert anatomy._verdict(2, 0.01, [9, 9, 9, 9]) == (Verdict.UNSURE, Reason.UNKNOWN_ANATOMY)


def test_the_lung_box_ignores_specks_and_sees_the_edge() -> None:
    """Two lungs and a speck: the box is round the lungs; a lung along the left edge is noticed."""
    mask = np.zeros((128, 128), dtype=bool)
    mask[32:96, 16:48] = mask[32:96, 80:112] = mask[4:6, 4:6] = True
    lungs = two_largest(mask)
    assert lungs.sum() == 2 * 64 * 32
    box = box_of(lungs)
    assert (box.x0, box.y0, box.x1, box.y1) == (16 / 128, 32 / 128, 112 / 128, 96 / 128)
    assert touched(lungs) == 0
    lungs[32:96, :16] = True
    assert touched(lungs) == 0.5


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
