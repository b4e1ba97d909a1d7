"""The gates in the order in which they look at a film.

A gate is a pure function `Film -> tuple[Finding, ...]`. A new one is one file and one word in GATES.
Nothing here raises for a film or a model that is bad: it becomes a finding, and the film is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from models import bundle
from models.bundle import Bundle, BundleError
from pipelines.film import WHOLE, Box, Film, Finding, Reason, Verdict
from pipelines.gates.anatomy import AnatomyGate
from pipelines.gates.exposure import ExposureGate
from pipelines.gates.header import HeaderGate
from pipelines.gates.integrity import IntegrityGate
from pipelines.gates.inversion import InversionGate
from pipelines.gates.lungs import LungsGate
from pipelines.gates.mirror import MirrorGate
from pipelines.gates.pose import Eyes
from pipelines.gates.region import RegionGate
from pipelines.gates.rotation import RotationGate

GATES: tuple[Callable[..., Gate], ...] = (
    HeaderGate,
    IntegrityGate,
    ExposureGate,
    AnatomyGate,
    InversionGate,
    RotationGate,
    MirrorGate,
    LungsGate,
)

POSE = ("rotation", "inversion")  # the networks by which every other one sees a film upright

# No network looks at what is no film or shows nothing ...
NOTHING_TO_SEE = frozenset(
    {
        Reason.NOT_A_FILM,
        Reason.FOR_PROCESSING,
        Reason.OURS,
        Reason.MULTI_FRAME,
        Reason.PIXELS_DAMAGED,
        Reason.BLANK,
    }
)
# ... and which way up or round is a question about chests: a hand has no upright.
NO_CHEST = frozenset({Reason.LATERAL, Reason.OTHER_PART, Reason.NOT_A_RADIOGRAPH})
# A region gate is not asked about what the rules never look at again.
NO_REGION = NOTHING_TO_SEE | {Reason.LATERAL, Reason.NOT_A_RADIOGRAPH}
TAKEN = frozenset({"chest", *(str(getattr(kind, "name", "")) for kind in GATES)})
NOT_ASKED_AFTER: dict[str, frozenset[Reason]] = {
    "anatomy": NOTHING_TO_SEE,
    "inversion": NOTHING_TO_SEE | NO_CHEST,
    "rotation": NOTHING_TO_SEE | NO_CHEST,
    "mirror": NOTHING_TO_SEE | NO_CHEST,
    "lungs": NOTHING_TO_SEE | NO_CHEST,
}


class Gate(Protocol):
    """Looks at one film."""

    @property
    def name(self) -> str: ...

    def __call__(self, film: Film) -> tuple[Finding, ...]: ...


@dataclass(frozen=True, slots=True)
class ClosedGate:
    """Stands in for a gate whose model cannot be used: every film is held."""

    name: str
    why: str

    def __call__(self, film: Film) -> tuple[Finding, ...]:  # noqa: ARG002 - what it shows is not asked
        return (Finding(self.name, Verdict.FAILED, reason=Reason.MODEL_MISSING, detail=self.why),)


@dataclass(frozen=True, slots=True)
class Gates:
    """All gates, ready to look; `bundles` are the models in use, by name."""

    gates: tuple[Gate, ...]
    bundles: dict[str, Bundle]

    def look(self, film: Film) -> tuple[Finding, ...]:
        """What every gate finds, in order. Never raises for a film.

        Once a large border is found the further gates look inside of it, as they will at the copy that is
        cropped; their boxes are told in the whole film.
        """
        findings: tuple[Finding, ...] = ()
        shown, frame = film, WHOLE
        for gate in self.gates:
            if not any(_settles(finding, gate.name) for finding in findings):
                found = _asked(gate, shown)
                findings += tuple(_in_whole(finding, frame) for finding in found)
                if frame is WHOLE and (border := _border(found)):
                    shown, frame = _inside(film, border), border
        return findings

    def problems(self) -> tuple[str, ...]:
        """Why this is not ready: a line for each gate that cannot work."""
        return tuple(f"{gate.name}: {gate.why}" for gate in self.gates if isinstance(gate, ClosedGate))

    def regions(self) -> tuple[str, ...]:
        """The names of the gates for regions other than the chest."""
        for_chests = {getattr(kind, "name", "") for kind in GATES}
        return tuple(gate.name for gate in self.gates if gate.name not in for_chests)

    def models(self) -> dict[str, str]:
        """The sha256 of the weights in use, by name."""
        return {name: found.card.weights_sha256 for name, found in self.bundles.items()}


def _border(found: Iterable[Finding]) -> Box | None:
    boxes = (x.box for x in found if x.reason is Reason.BORDER and x.verdict is Verdict.BAD)
    return next((box for box in boxes if box), None)


def _inside(film: Film, box: Box) -> Film:
    """The film within the box."""
    return replace(film, pixels=film.pixels[box.cut(*film.pixels.shape)])


def _in_whole(finding: Finding, frame: Box) -> Finding:
    """The finding with its box told in the film that `frame` was cut from."""
    if frame is WHOLE or finding.box is None:
        return finding
    return replace(finding, box=finding.box.in_whole(frame))


def _settles(finding: Finding, gate: str) -> bool:
    """Whether this finding leaves the gate nothing to be asked."""
    if gate in TAKEN:
        return finding.reason in NOT_ASKED_AFTER.get(gate, ())
    chest = finding.gate == "anatomy" and finding.verdict is Verdict.GOOD
    return chest or finding.reason in NO_REGION


def load(
    bundles: Path | None = None, variants: Mapping[str, str] | None = None, regions: Sequence[Path] = ()
) -> Gates:
    """All gates with the models in `bundles` (ours unless told otherwise). Never raises for a bad model.

    `variants` names another bundle for a gate: {"anatomy": "research"} takes the folder `anatomy-research`.
    `regions` are folders of bundles for other body regions, each one more gate after those for chests.
    """
    found: dict[str, Bundle | BundleError] = {}
    for name in dict.fromkeys(need for kind in GATES for need in getattr(kind, "needs", ())):
        variant = (variants or {}).get(name, "")
        found[name] = _model((bundles or bundle.BUNDLES) / (f"{name}-{variant}" if variant else name))
    usable = {name: model for name, model in found.items() if isinstance(model, Bundle)}
    nets = {name: usable[name].net for name in POSE if name in usable}
    eyes = Eyes(nets.get("rotation"), nets.get("inversion"))
    chain = tuple(_built(kind, eyes, found) for kind in GATES)
    further = {folder.name: _model(folder) for folder in regions}
    usable |= {model.card.name: model for model in further.values() if isinstance(model, Bundle)}
    return Gates(chain + tuple(_region(name, model, eyes) for name, model in further.items()), usable)


def _region(name: str, model: Bundle | BundleError, eyes: Eyes) -> Gate:
    if isinstance(model, BundleError):
        return ClosedGate(name, str(model))
    if model.card.name in TAKEN:
        return ClosedGate(name, f"a region cannot be called {model.card.name}: that is a gate for chests")
    return _with_thresholds(name, RegionGate, eyes, model)


def _built(kind: Callable[..., Gate], eyes: Eyes, found: Mapping[str, Bundle | BundleError]) -> Gate:
    name = str(getattr(kind, "name", ""))
    needs: tuple[str, ...] = getattr(kind, "needs", ())
    missing = [str(model) for need in needs if isinstance(model := found[need], BundleError)]
    if missing:
        return ClosedGate(name, missing[0])
    return _with_thresholds(name, kind, eyes, found[name]) if needs else kind()


def _with_thresholds(name: str, kind: Callable[..., Gate], eyes: Eyes, model: Bundle | BundleError) -> Gate:
    try:
        return kind(eyes, model)
    except KeyError as error:
        return ClosedGate(name, f"the card gives no threshold {error}")


def _model(folder: Path) -> Bundle | BundleError:
    try:
        return bundle.load(folder)
    except BundleError as error:
        return error


def _asked(gate: Gate, film: Film) -> tuple[Finding, ...]:
    try:
        return gate(film)
    except Exception as error:  # noqa: BLE001 - fail closed: whatever a gate raises, the film is held
        return (Finding(gate.name, Verdict.FAILED, reason=Reason.GATE_FAILED, detail=type(error).__name__),)
