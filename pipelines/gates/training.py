"""Where training meets the gates' own input chain; `filmgate train`, `calibrate` and `evaluate` call this."""

from __future__ import annotations

from pathlib import Path

from models import bundle, calibrate, evaluate, train
from models.evaluate import Judge, Line, Pixels
from pipelines import gates
from pipelines.film import Film, Header, Verdict
from pipelines.transforms import as_batch


def train_gate(
    name: str,
    films: Path,
    out: Path,
    cache: Path,
    resume: bool = False,
    seed: int = 0,
    steps: int | None = None,
    leave_out: str = "",
    begin: Path | None = None,
) -> Path:
    """Trains the gate `name` on what it will see at work and chooses its thresholds; returns its bundle."""
    train.train(name, films, out, cache, as_batch, resume, seed, steps, leave_out, begin=begin)
    calibrate_gate(name, films, out, cache)
    return out


def calibrate_gate(name: str, films: Path, out: Path, cache: Path) -> dict[str, float]:
    """Chooses the thresholds of the bundle in `out` on held-out patients and writes them into its card."""
    return calibrate.calibrate(name, films, out, cache, as_batch)


def evaluate_gate(name: str, films: Path, bundles: Path = bundle.BUNDLES) -> tuple[Line, ...]:
    """Counts what the gate does with held-out patients and writes it into the card in `bundles/name`.

    Raises BundleError when the gate has no model to evaluate.
    """
    return evaluate.evaluate(name, films, bundles / name, _judge(name, bundles))


def evaluate_unseen_site(
    name: str, films: Path, site: str, without: Path, bundles: Path = bundle.BUNDLES
) -> tuple[Line, ...]:
    """Counts what the gate in the folder `without`, trained with `leave_out=site`, does with that site.

    The table goes into the card of the gate in `bundles`. Raises BundleError like `evaluate_gate`.
    """
    return evaluate.evaluate_site(name, films, bundles / name, _judge(name, without), site)


def _judge(name: str, bundles: Path) -> Judge:
    ready = gates.load(bundles)
    for problem in ready.problems():
        if problem.startswith(f"{name}:"):
            raise bundle.BundleError(problem)
    gate = next(gate for gate in ready.gates if gate.name == name)

    def judge(pixels: Pixels) -> str:
        (finding,) = gate(Film(Header(), pixels))
        if finding.verdict is Verdict.BAD and finding.reason:
            return finding.reason.value
        return finding.verdict.value

    return judge
