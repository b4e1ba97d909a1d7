"""Asks a classifier: a qualified film and what the gates found -> a Reading, or NotRead with its reason.

The flow is: covered? -> crop -> prepare -> ask -> calibrate -> rank -> show where. Nothing here raises for
a film: what cannot be read is NotRead, so that silence is never taken for negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models.classifiers import bundle, framing, heat
from models.classifiers.bundle import ClassifierCard, Loaded
from models.classifiers.engine import Answer, Engine, open_engine
from pipelines.film import WHOLE, Box, Film, Finding
from pipelines.gates.lungs import LungsGate, crop_of
from pipelines.policy import Acceptance, accepts
from pipelines.reading import Condition, NotRead, Reading, Unread

FOREVER = date.max  # a card knows no age of studies


class Classifier:
    """Reads one film after another with one classifier."""

    def __init__(self, loaded: Loaded, engine: Engine) -> None:
        self.card = loaded.card
        self.engine = engine
        self._head = _head(loaded)
        self._covers = Acceptance.of(loaded.card.accepts)

    @classmethod
    def open(
        cls, folder: Path, *, cache: Path | None = None, threads: int = 1, device: str = "auto"
    ) -> Classifier:
        """The classifier in this folder, ready. Raises models.bundle.BundleError."""
        loaded = bundle.load(folder)
        return cls(loaded, open_engine(loaded, cache=cache, threads=threads, device=device))

    def read(
        self, film: Film, findings: tuple[Finding, ...] = (), *, heat: bool = True, any_film: bool = False
    ) -> Reading | NotRead:
        """What the classifier says of the film; `findings` are the gates', among them the lung box.

        With `any_film` the card's `accepts` is not asked: a person answers for the film.
        """
        covered, why = (True, "") if any_film else accepts(self._covers, film.header, FOREVER)
        if not covered:
            return self.not_read(Unread.OUTSIDE_CARD, why)
        box = WHOLE if self.card.input.crop == "whole" else lung_crop(findings)
        if box is None:
            return self.not_read(
                Unread.NO_LUNG_BOX, "the classifier reads the lung field, and no lung field was found"
            )
        crop = self._crop(film, box)
        answer = self.engine.ask(self.seen(film, crop))
        if not np.isfinite(answer.logits).all():
            return self.not_read(Unread.NOT_FINITE, "the network gave no finite number")
        return self._reading(film, answer, crop, with_heat=heat)

    def seen(self, film: Film, crop: Box = WHOLE) -> NDArray[np.float32]:
        """What the network is shown of this part of the film, (1, 1, px, px)."""
        shape = self.card.input
        out: NDArray[np.float32] = framing.shown(
            film.pixels, shape.px, aspect=shape.aspect, part=_part(crop)
        ).numpy()
        return out

    def not_read(self, code: Unread, why: str) -> NotRead:
        """That a film was not analysed by this classifier."""
        return NotRead(self.card.name, self.card.version, self.card.weights_sha256, code, why)

    def _crop(self, film: Film, box: Box) -> Box:
        return Box(*framing.part_of(film.pixels.shape, self.card.input.aspect, _part(box)))

    def _reading(self, film: Film, answer: Answer, crop: Box, *, with_heat: bool) -> Reading:
        card = self.card
        likely = probabilities(card, answer.logits[0])
        conditions = tuple(
            Condition(name, p, card.thresholds.get(name))
            for name, p in sorted(zip(card.classes, likely, strict=True), key=lambda pair: -pair[1])
        )
        shown = condition_to_show(conditions)
        warm = self._heat(film, answer, crop, shown) if with_heat and shown else None
        return Reading(
            classifier=card.name,
            version=card.version,
            model_digest=card.weights_sha256,
            conditions=conditions,
            exclusive=card.exclusive,
            crop=crop,
            shown=shown if warm is not None else "",
            region=None if warm is None else Box(*heat.region_of(warm)).in_whole(crop),
            heat=warm,
        )

    def _heat(self, film: Film, answer: Answer, crop: Box, shown: str) -> NDArray[np.float32] | None:
        if answer.maps is None or self._head is None:
            return None
        row = self._head[self.card.classes.index(shown)]
        warm = heat.cam(answer.maps[0], row, self.card.input.px)
        if warm is None or self.card.input.aspect != "pad":
            return warm
        inside = framing.without_padding(warm, framing.cropped(film.pixels, _part(crop)).shape)
        most = float(inside.max())
        return inside / most if most > 0 else None  # what speaks from the bars alone lies nowhere in the film


def probabilities(card: ClassifierCard, logits: NDArray[np.float32]) -> list[float]:
    """Calibrated probabilities, in the order of the card's classes, of one film's logits (classes,)."""
    pairs = [card.calibration.get(name, (1.0, 0.0)) for name in card.classes]
    odds = np.array([a * float(x) + b for (a, b), x in zip(pairs, logits, strict=True)])
    if card.exclusive:
        shares = np.exp(odds - odds.max())
        return [float(p) for p in shares / shares.sum()]
    sigmoids = [float(p) for p in 0.5 * (1 + np.tanh(odds / 2))]  # without overflow
    points = [card.operating.get(name) for name in card.classes]
    return [p if point is None else rescaled(p, point) for p, point in zip(sigmoids, points, strict=True)]


def rescaled(p: float, operating: float) -> float:
    """TorchXRayVision's op_norm: piece by piece linear, the operating point becomes 0.5."""
    return p / (2 * operating) if p < operating else 1 - (1 - p) / (2 * (1 - operating))


def condition_to_show(conditions: Iterable[Condition]) -> str:
    """Of ranked conditions, the one that a heat map is drawn for: the first positive, else the first at all.

    That nothing was found is no condition that lies anywhere.
    """
    some = [condition for condition in conditions if not condition.nothing]
    positive = (condition.name for condition in some if condition.positive)
    return next(positive, some[0].name if some else "")


def lung_crop(findings: Iterable[Finding]) -> Box | None:
    """The lung box and its margin, as the gate found it in the film as it lies; None without one."""
    boxes = (finding.box for finding in findings if finding.gate == LungsGate.name and finding.box)
    box = next(boxes, None)
    return None if box is None else crop_of(box)


def _head(loaded: Loaded) -> NDArray[np.float32] | None:
    """The last layer's rows (classes, F); None for a network that is not ours."""
    if loaded.card.foreign or loaded.net is None:
        return None
    head = loaded.net.get_submodule("head")
    assert isinstance(head, nn.Linear)
    out: NDArray[np.float32] = head.weight.detach().cpu().numpy()
    return out


def _part(box: Box) -> framing.Part:
    return (box.x0, box.y0, box.x1, box.y1)
