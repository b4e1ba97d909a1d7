"""The reader: a film is read as its card says, or it is said why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.classifiers import bundle, framing, inputs, nets
from models.classifiers.bundle import ClassifierCard, Input, Loaded
from models.classifiers.engine import Answer, Eager
from pipelines.film import WHOLE, Box, Film, Finding, Header, Verdict
from pipelines.gates.lungs import crop_of
from pipelines.lab.films import phantom
from pipelines.reading import Condition, NotRead, Reading, Unread
from pipelines.reading.classifier import Classifier, condition_to_show, probabilities, rescaled

CLASSES = ("Effusion", "Mass", "No Finding")
CARD = ClassifierCard("tiny", "small", CLASSES, input=Input(px=64), weights_sha256="d" * 64)
ADULT = Header(modality="DX", view_position="PA", view="frontal", age_years=50.0)
LUNGS = Finding("lungs", Verdict.GOOD, box=Box(0.2, 0.1, 0.8, 0.7))
FILM = Film(ADULT, phantom.render("frontal", 5).astype(np.float32))


def reader(card: ClassifierCard = CARD) -> Classifier:
    torch.manual_seed(0)
    net = nets.Small(len(card.classes)).eval().requires_grad_(False)
    return Classifier(Loaded(card, net), Eager(card, net))


def seen_by(one: Classifier) -> list[NDArray[np.float32]]:
    """What its network is shown from now on."""
    shown: list[NDArray[np.float32]] = []

    class Watched:
        runs_on = "torch"

        def ask(self, films: NDArray[np.float32]) -> Answer:
            shown.append(films)
            return engine.ask(films)

    engine, one.engine = one.engine, Watched()
    return shown


def test_a_film_is_read_and_its_conditions_are_ranked() -> None:
    """Every class of the card, the most likely first, with the thresholds of the card and no others."""
    card = replace(CARD, thresholds={"Effusion": 0.0, "Mass": None})
    reading = reader(card).read(FILM, (LUNGS,))
    assert isinstance(reading, Reading)
    assert {condition.name for condition in reading.conditions} == set(CLASSES)
    told = [condition.probability for condition in reading.conditions]
    assert told == sorted(told, reverse=True)
    assert {c.name: c.positive for c in reading.conditions} == {
        "Effusion": True,
        "Mass": None,
        "No Finding": None,
    }
    assert (reading.classifier, reading.model_digest, reading.crop) == ("tiny", "d" * 64, WHOLE)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (replace(ADULT, age_years=4.0), "age 4 is under 10"),
        (replace(ADULT, age_years=None), "the age is unknown"),
        (replace(ADULT, modality="CT"), "modality CT is not taken"),
    ],
)
def test_a_film_outside_the_card_is_not_read_unless_a_person_answers_for_it(header: Header, why: str) -> None:
    one = reader()
    told = one.read(replace(FILM, header=header))
    assert isinstance(told, NotRead)
    assert (told.code, told.why) == (Unread.OUTSIDE_CARD, why)
    assert isinstance(one.read(replace(FILM, header=header), any_film=True), Reading)


def test_a_classifier_of_lungs_sees_the_lung_box_with_its_margin() -> None:
    """The box of the lung gate, as the gate found it; without one nothing is read."""
    one = reader(replace(CARD, input=Input(px=64, crop="lungs")))
    shown = seen_by(one)
    reading = one.read(FILM, (LUNGS,))
    assert isinstance(reading, Reading)
    assert LUNGS.box
    assert reading.crop == crop_of(LUNGS.box)
    part = framing.cropped(FILM.pixels, (0.16, 0.06, 0.84, 0.74))
    assert np.array_equal(shown[0], inputs.prepared(part[None], 64).numpy())
    told = one.read(FILM, ())
    assert isinstance(told, NotRead)
    assert told.code is Unread.NO_LUNG_BOX


def test_a_region_lies_inside_of_what_the_network_saw() -> None:
    """The heat lies over the crop, the region is told in the whole film."""
    for seed in range(6):
        film = replace(FILM, pixels=phantom.render("frontal", seed).astype(np.float32))
        reading = reader(replace(CARD, input=Input(px=64, crop="lungs"))).read(film, (LUNGS,))
        assert isinstance(reading, Reading)
        if reading.heat is None:
            continue
        assert reading.heat.shape == (64, 64)
        assert (reading.heat.min() >= 0, reading.heat.max()) == (True, 1.0)
        region, crop = reading.region, reading.crop
        assert region
        assert crop.x0 - 1e-9 <= region.x0 < region.x1 <= crop.x1 + 1e-9
        assert crop.y0 - 1e-9 <= region.y0 < region.y1 <= crop.y1 + 1e-9
        return
    pytest.fail("no film had a heat map")


def test_without_a_heat_map_nothing_is_shown() -> None:
    reading = reader().read(FILM, heat=False)
    assert isinstance(reading, Reading)
    assert (reading.heat, reading.region, reading.shown) == (None, None, "")


@pytest.mark.parametrize("aspect", ["centre", "pad"])
def test_a_film_that_is_no_square_is_cut_or_padded_as_the_card_says(aspect: str) -> None:
    """The network sees a square part of it, or all of it between black bars; never a squashed one."""
    wide = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (100, 1))
    one = reader(replace(CARD, input=Input(px=64, aspect=aspect)))
    shown = seen_by(one)
    reading = one.read(replace(FILM, pixels=wide))
    assert isinstance(reading, Reading)
    if aspect == "centre":
        assert reading.crop == Box(0.25, 0.0, 0.75, 1.0)
    else:
        assert reading.crop == WHOLE
        assert shown[0][0, 0, :15].max() == 0 < shown[0][0, 0, 32].max()
        assert reading.heat is None or reading.heat.shape == (32, 64)


def test_what_speaks_from_the_black_bars_alone_lies_nowhere_in_the_film() -> None:
    """A network that looks at its padding gets no region: it would be the whole film."""

    class LooksAbove:
        runs_on = "torch"

        def ask(self, films: NDArray[np.float32]) -> Answer:
            maps = np.zeros((1, 128, 8, 8), np.float32)
            maps[:, :, 0] = 1.0
            return Answer(np.array([[2.0, -2.0, -2.0]], np.float32), maps)

    one = reader(replace(CARD, input=Input(px=64, aspect="pad")))
    one.engine, one._head = LooksAbove(), np.ones((3, 128), np.float32)
    reading = one.read(replace(FILM, pixels=FILM.pixels[:100, :200]))
    assert isinstance(reading, Reading)
    assert (reading.heat, reading.region, reading.shown) == (None, None, "")


def test_neither_nan_nor_infinity_reaches_or_leaves_the_network() -> None:
    """A film with NaN is read as if black there; a network that answers NaN has read nothing."""
    pixels = FILM.pixels.copy()
    pixels[:50] = np.nan
    pixels[50] = np.inf
    one = reader()
    shown = seen_by(one)
    assert isinstance(one.read(replace(FILM, pixels=pixels)), Reading)
    assert np.isfinite(shown[0]).all()

    class Broken:
        runs_on = "torch"

        def ask(self, films: NDArray[np.float32]) -> Answer:
            return Answer(np.full((len(films), 3), np.nan, np.float32))

    one.engine = Broken()
    told = one.read(FILM)
    assert isinstance(told, NotRead)
    assert told.code is Unread.NOT_FINITE


def test_probabilities_are_calibrated_on_the_logit() -> None:
    """Sigmoid of slope times logit plus offset; what the card does not name stays as it is."""
    card = replace(CARD, calibration={"Mass": (2.0, 1.0)})
    told = probabilities(card, np.array([0.0, 1.0, -800.0], np.float32))
    assert told == pytest.approx([0.5, 1 / (1 + np.exp(-3.0)), 0.0])


def test_an_exclusive_classifier_shares_one_probability_among_its_classes() -> None:
    told = probabilities(replace(CARD, exclusive=True), np.array([900.0, 899.0, -900.0], np.float32))
    assert told == pytest.approx([1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.0)), 0.0])


def test_operating_points_become_one_half_piece_by_piece() -> None:
    """TorchXRayVision's op_norm: 0 stays 0, 1 stays 1, the operating point is 0.5, linear between them."""
    assert [rescaled(p, 0.2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    card = replace(CARD, operating={"Mass": 0.2})
    assert probabilities(card, np.log(np.array([0.25, 0.25, 0.25], np.float32)))[1] == pytest.approx(0.5)


def test_a_heat_map_is_for_a_condition_not_for_its_absence() -> None:
    """The first positive one; else the likeliest; never "No Finding"."""
    none = Condition("No Finding", 0.9, 0.5)
    assert condition_to_show([none, Condition("Mass", 0.4), Condition("Effusion", 0.3, 0.2)]) == "Effusion"
    assert condition_to_show([none, Condition("Mass", 0.4), Condition("Effusion", 0.3)]) == "Mass"
    assert condition_to_show([none]) == ""


def test_a_reader_is_opened_from_a_folder_and_keeps_its_export(tmp_path: Path) -> None:
    """On a processor ONNX Runtime reads; the export lies in the cache afterwards."""
    torch.manual_seed(3)
    bundle.save(tmp_path / "tiny", CARD, nets.Small(3))
    one = Classifier.open(tmp_path / "tiny", cache=tmp_path / "cache", device="cpu")
    assert one.engine.runs_on == "onnxruntime"
    assert len(list((tmp_path / "cache").glob("*.onnx"))) == 1
    assert isinstance(one.read(FILM, (LUNGS,)), Reading)
