"""What `filmgate doctor` looks at of models: weights against their cards. torch is not needed for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gateway.cli.upkeep.check import Check
from gateway.settings import Settings
from gateway.settings.classifier import bundle_of
from gateway.supervisor import fitness
from models import plain_files
from models.classifiers import terms


def bundles(settings: Settings) -> Iterator[Check]:
    """Each model's weights against the digest on its card; torch is not needed for that."""

    folder = fitness.bundles_folder(settings)
    cards = {card.parent.parent for card in folder.glob("*/configs/metadata.json")}
    there = {bundle.name for bundle in cards if not _is_classifier(bundle)}
    if not there:
        yield Check("bundles", "error", f"no model in {folder}: every film would be held")
    used = {bundle.name for bundle in fitness.gate_bundles(settings).values()}
    for name in sorted(there | used) if there else ():
        yield _bundle(f"bundle {name}", folder / name, "films are held" if name in used else "not in use")
    for region in settings.work.regions:
        yield _bundle(f"region {region.name}", region, "films that may be of it are held")


def _is_classifier(folder: Path) -> bool:

    with suppress(terms.NoTerms):
        terms.read(folder)
        return True
    return False


def classifiers(settings: Settings) -> Iterator[Check]:
    """Each classifier's weights against its card, and what it waits for."""

    for name, block in settings.classifiers.items():
        what, lost = (
            f"classifier {name}",
            "deliveries to it fail until it is repaired and they are sent again",
        )
        try:
            card = terms.read(bundle_of(block, name))
            found = plain_files.sha256_of(card.weights)
        except (OSError, terms.NoTerms) as error:
            yield Check(what, "error", f"cannot be used: {error}; {lost}")
            continue
        if found != card.weights_sha256:
            yield Check(what, "error", f"its weights are not the ones its card names; {lost}")
        elif name not in settings.routes.pass_:
            yield Check(what, "warning", "routes.pass does not name it: it reads only what people send it")
        elif not any(block.results.model_dump().values()):
            yield Check(what, "warning", "its results go nowhere: say where in `results`")
        else:
            yield Check(what, "ok", f"{card.name} {card.version}, sha256 {found[:16]}")


def _bundle(what: str, folder: Path, meaning: str) -> Check:
    """A model that is not in use may be broken; one that is may not."""

    bad = "warning" if meaning == "not in use" else "error"
    if problem := fitness.problem_of(folder):
        return Check(what, bad, f"{problem}; {meaning}")
    digest = fitness.digest_of(folder)
    return Check(what, "ok", f"sha256 {digest[:16]}" + ("" if bad == "error" else "; not in use"))


def regions(settings: Settings) -> Check:
    """Whether what destinations wait for can come: a gate has the name on its card."""

    blocks = settings.destinations
    accepted = [getattr(blocks[name], "accepts", None) for name in settings.routes.pass_]
    wanted = {region for accepts in accepted if accepts for region in accepts.regions} - {"chest"}
    there = {fitness.region_name(folder) for folder in settings.work.regions}
    if wanted - there:
        lacking = ", ".join(sorted(wanted - there))
        return Check(
            "regions", "warning", f"destinations accept {lacking}: work.regions has no gate for that"
        )
    if there - wanted:
        idle = ", ".join(sorted(there - wanted))
        return Check(
            "regions", "warning", f"no destination of routes.pass accepts {idle}: the gate has no use"
        )
    return Check("regions", "ok", ", ".join(sorted(wanted)) or "the chest alone")
