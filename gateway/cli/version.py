"""`filmgate --version`: what decides here, by digest. Models are not loaded for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from gateway.cli.options import Common
from gateway.cli.output import clean, print_json, say
from gateway.errors import FilmgateError
from gateway.settings import Settings, load
from gateway.settings.classifier import bundle_of
from gateway.settings.lined_yaml import text_of
from gateway.supervisor import fitness
from models import plain_files
from models.classifiers import terms
from pipelines.policy import Policy, PolicyError

SHORT = 16  # characters of a digest that people compare


@dataclass(frozen=True, slots=True)
class Model:
    """One bundle; without a digest when its weights cannot be read."""

    name: str
    kind: str  # "gate", "region" or "classifier"
    sha256: str | None


def show_version(common: Common) -> None:
    """filmgate's own version, the digest of the policy in force, and those of the models there are."""
    version = metadata.version("filmgate")
    if not common.json:
        say(f"filmgate {version}")  # whatever else can be read
    settings = load(common.config, common.state)
    file, models = settings.policy.file, list(_models(settings))
    digest = _policy(file).digest
    if common.json:
        policy = {"file": file, "sha256": digest}
        print_json([{"version": version, "policy": policy, "models": list(map(asdict, models))}])
        return
    say(f"policy {digest[:SHORT]} ({clean(str(file)) if file else 'the default'})")
    for model in models:
        say(f"{model.kind} {clean(model.name)} {model.sha256[:SHORT] if model.sha256 else 'cannot be read'}")


def _policy(file: Path | None) -> Policy:
    """
    Raises:
        SettingsError, FilmgateError: it cannot be read or used.
    """
    try:
        return Policy.load(text_of(file)) if file else Policy.default()
    except PolicyError as error:
        raise FilmgateError(f"policy.file: {error}. `filmgate config check` reads it again.") from error


def _models(settings: Settings) -> Iterator[Model]:
    """The gates and regions in use, the classifiers of the settings and those that ship."""
    for bundle in fitness.gate_bundles(settings).values():
        yield Model(bundle.name, "gate", _digest(bundle / terms.SAFETENSORS))
    for region in settings.work.regions:
        yield Model(fitness.region_name(region), "region", _digest(region / terms.SAFETENSORS))
    named = {bundle_of(block, name) for name, block in settings.classifiers.items()}
    shipped = {card.parents[1] for card in terms.BUNDLES.glob(f"*/{terms.METADATA}")}
    for folder in sorted(named | shipped):
        with suppress(terms.NoTerms):  # of the shipped ones, a gate
            yield Model(folder.name, "classifier", _digest(terms.read(folder).weights))


def _digest(weights: Path) -> str | None:
    try:
        return plain_files.sha256_of(weights)
    except OSError:
        return None
