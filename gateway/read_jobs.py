"""READ: what a worker does for a classifier: decode, read, and make of the answer what the settings ask for.

Silence must never be read as negative: whatever keeps a film from being read is an answer, with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gateway.bootstrap import Shell
from gateway.errors import DecodeError
from gateway.ledger.records import Job, Judged, Made, Read
from gateway.process import crash
from gateway.sandbox.decoder import LastFilm
from gateway.sandbox.reporter import Occasion, Reporter, Systems
from gateway.settings import ClassifierDestination, WebhookDestination
from gateway.settings.classifier import bundle_of
from gateway.store import Store
from models.bundle import BundleError
from models.classifiers import terms
from pipelines.film import Act, Film, Finding, Reason, Verdict
from pipelines.gates import Gates
from pipelines.policy import Acceptance, accepts
from pipelines.reading import UNREAD_TEXT, NotRead, Reading, Unread
from pipelines.words.kinds import is_film

if TYPE_CHECKING:
    from pipelines.reading.classifier import (
        Classifier,  # a worker without classifiers loads nothing of what reads
    )

log = structlog.get_logger()

OF_READINGS = ("sr", "heatmap", "gsps", "json", "fhir")
OF_SILENCE = ("not_analysed", "json", "fhir")

Look = Callable[[Film], tuple[Finding, ...]]
OpenReader = Callable[[Path, Path], "Classifier"]  # the folder of a bundle, and that of engines made ready


class ReadJobs:
    """The classifiers of one worker.

    Args:
        classifiers: their blocks, by the destination's name.
        accepts: what each of routes.pass takes.
        systems: of the identifiers that a webhook's results in FHIR name, by the destination's name.
        look: all gates, for a film of which the ledger has no findings.
        findings: the ledger's, of one version.
        observed: whether a version was judged while no gate kept a film from here; then the card's coverage
            is asked of the pixels as well.
        engines: the folder of networks made ready for this machine.
        open_reader: opens a classifier; raises BundleError.
    """

    def __init__(
        self,
        classifiers: Mapping[str, ClassifierDestination],
        accepts: Mapping[str, Acceptance],
        systems: Mapping[str, Systems],
        *,
        store: Store,
        films: LastFilm,
        reporter: Reporter,
        look: Look,
        findings: Callable[[int], tuple[Finding, ...]],
        observed: Callable[[int], bool],
        engines: Path,
        open_reader: OpenReader,
    ) -> None:
        self.names = tuple(classifiers)
        self._blocks = classifiers
        self._accepts = accepts
        self._systems = systems
        self._store = store
        self._films = films
        self._reporter = reporter
        self._look = look
        self._findings = findings
        self._observed = observed
        self._engines = engines
        self._open_reader = open_reader
        self._readers: dict[str, Classifier] = {}

    def prepare(self) -> None:
        """Load what the first film would have to wait for, and say what cannot be used."""
        for name in self.names:
            try:
                log.info("classifier ready", classifier=name, runs_on=self._reader(name).engine.runs_on)
            except BundleError as error:
                log.error("classifier not usable", classifier=name, problem=str(error), meaning=UNUSABLE)
        if self.names:
            self._reporter.warm_up(self._store.incoming)

    def read(self, job: Job) -> Read:
        """Read what was handed over, and keep in the store what is made of it.

        Raises:
            StoreError, OSError: not the film's doing; it is tried again.
        """
        assert job.reading is not None
        name, at = job.reading.destination, job.reading.created_at
        answer, film = self._answer(name, job)
        crash.at("reading")
        occasion = Occasion(at, {answer.classifier: answer.model_digest}, job.operations)
        results, troubles = self._results(name, job.digest, answer, occasion, film)
        if isinstance(answer, NotRead) and answer.code is Unread.MODEL_NOT_USABLE:
            troubles.insert(0, answer.why)
        return _read(name, answer, results, error="; ".join(troubles))

    def passed_over(self, job: Job, judged: Judged, today: date) -> tuple[Read, ...]:
        """Word of a film that no gate let through to a classifier, where somebody asks for such word.

        Only of films: nobody expects that a CT, or what we made ourselves, is read by it. `today` is the day
        of the decision.
        """
        if judged.header is None or not is_film(judged.header):
            return ()
        given = {*judged.send_original_to, *judged.send_copy_to}
        return tuple(
            self._not_given(name, job, judged, today)
            for name in self.names
            if name in self._accepts and name not in given and self._blocks[name].results.not_analysed
        )

    # Reading

    def _answer(self, name: str, job: Job) -> tuple[Reading | NotRead, Film | None]:
        assert job.reading is not None
        try:
            reader = self._reader(name)
        except BundleError as error:
            return self._not_read(name, Unread.MODEL_NOT_USABLE, str(error)), None
        try:
            film = self._films(job.reading.digest)
            findings = self._findings_in(job, film)
        except DecodeError as error:
            return reader.not_read(Unread.NOT_DECODED, str(error)), None
        if self._observed(job.version_id) and (why := _not_frontal(findings)):
            return reader.not_read(Unread.OUTSIDE_CARD, why), film
        return reader.read(film, findings), film

    def _findings_in(self, job: Job, film: Film) -> tuple[Finding, ...]:
        """What the gates found in the film that is read; a copy is looked at by the claims of its source."""
        assert job.reading is not None
        if job.reading.digest == job.digest:
            return self._findings(job.version_id) or self._look(film)
        return self._look(film.claiming(self._films(job.digest).header))

    def _reader(self, name: str) -> Classifier:
        """
        Raises:
            BundleError: it cannot be used; asked anew each time, so that one that was mended is.
        """
        if name not in self._blocks:
            raise BundleError(f"{name}: is no classifier in the settings any more")
        if name not in self._readers:
            self._readers[name] = self._opened(name)
        return self._readers[name]

    def _opened(self, name: str) -> Classifier:
        try:
            return self._open_reader(bundle_of(self._blocks[name], name), self._engines)
        except BundleError:
            raise
        except Exception as error:  # of whatever kind: one classifier must not keep a worker from the gates
            raise BundleError(f"{name}: cannot be used: {type(error).__name__}") from error

    def _not_read(self, name: str, code: Unread, why: str) -> NotRead:
        """By what the card says alone."""
        if block := self._blocks.get(name):
            with suppress(terms.NoTerms):
                card = terms.read(bundle_of(block, name))
                return NotRead(card.name, card.version, card.weights_sha256, code, why)
        return NotRead(name, "", "", code, why)

    def _not_given(self, name: str, job: Job, judged: Judged, today: date) -> Read:
        assert judged.header is not None
        decision = judged.decision
        if decision.act is Act.PASS or judged.send_copy_to or Reason.NO_AI_ACCEPTS in decision.reasons:
            _, why = accepts(self._accepts[name], judged.header, today)
            answer = self._not_read(name, Unread.NOT_ACCEPTED, why or UNREAD_TEXT[Unread.NOT_ACCEPTED])
        else:
            answer = self._not_read(name, Unread.NOT_QUALIFIED, decision.why)
        occasion = Occasion(job.received_at, {answer.classifier: answer.model_digest})
        results, troubles = self._results(name, job.digest, answer, occasion)
        for trouble in troubles:
            log.warning("no word of a film that was not analysed", film=job.film_id, error=trouble)
        return _read(name, answer, results)

    # Results

    def _results(
        self,
        name: str,
        original: str,
        answer: Reading | NotRead,
        occasion: Occasion,
        film: Film | None = None,
    ) -> tuple[tuple[Made, ...], list[str]]:
        """What is made of an answer, and what could not be made."""
        results, troubles = [], []
        for kind, to, systems in self._wanted(name, answer):
            shown = film if kind == "heatmap" else None
            try:
                result = self._reporter.result(
                    kind, self._store.path(original), answer, occasion, shown, systems
                )
            except DecodeError as error:
                troubles.append(f"{kind} could not be made: {error}")
                continue
            if result is not None:
                results.append(result.keep(self._store, to))
        return tuple(results), troubles

    def _wanted(
        self, name: str, answer: Reading | NotRead
    ) -> Iterator[tuple[str, tuple[str, ...], Systems | None]]:
        """Kinds of results, who gets each, and in FHIR what is named for them: one result for those alike."""
        if block := self._blocks.get(name):
            recipients = block.results.model_dump(by_alias=True)
            kinds = OF_READINGS if isinstance(answer, Reading) else OF_SILENCE
            for kind in kinds:
                alike: dict[Systems | None, list[str]] = {}
                for to in recipients[kind]:
                    alike.setdefault(self._systems.get(to) if kind == "fhir" else None, []).append(to)
                yield from ((kind, tuple(names), systems) for systems, names in alike.items())


def classifiers_of(
    shell: Shell, films: LastFilm, gates: Gates, reporter: Reporter, open_reader: OpenReader
) -> ReadJobs:
    """The classifiers that the settings name."""
    settings = shell.settings
    webhooks = {
        name: block for name, block in settings.destinations.items() if isinstance(block, WebhookDestination)
    }
    return ReadJobs(
        settings.classifiers,
        shell.acceptances(),
        {name: _systems(block) for name, block in webhooks.items()},
        store=shell.store,
        films=films,
        reporter=reporter,
        look=gates.look,
        findings=shell.ledger.findings_of,
        observed=shell.ledger.was_observed,
        engines=settings.state / "engines",
        open_reader=open_reader,
    )


def _systems(block: WebhookDestination) -> Systems:
    return Systems(block.fhir.patient_system or None, block.fhir.accession_system or None)


UNUSABLE = "what is owed to it fails, and is read after `filmgate films send-again`"


def _read(name: str, answer: Reading | NotRead, results: tuple[Made, ...], *, error: str = "") -> Read:
    """As much of a card's words as the ledger keeps."""
    return Read(name, answer.version[:32], answer.model_digest[:64], _body(answer), results, error[:500])


def _body(answer: Reading | NotRead) -> dict[str, Any]:
    """What the ledger keeps of an answer; boxes are in fractions of what was read."""
    if isinstance(answer, NotRead):
        return {"not_read": answer.code.value, "why": answer.why}
    return {
        "conditions": [
            {
                "name": condition.name,
                "probability": round(condition.probability, 6),
                "threshold": condition.threshold,
                "positive": condition.positive,
            }
            for condition in answer.conditions
        ],
        "exclusive": answer.exclusive,
        "shown": answer.shown,
        "crop": asdict(answer.crop),
        "region": asdict(answer.region) if answer.region else None,
    }


def _not_frontal(findings: tuple[Finding, ...]) -> str:
    """Why a film is no frontal chest by its pixels; "" when it is one."""
    anatomy = next((finding for finding in findings if finding.gate == "anatomy"), None)
    if anatomy is not None and anatomy.verdict is Verdict.GOOD:
        return ""
    what = (anatomy.reason or anatomy.verdict) if anatomy else "nobody looked"
    return f"by its pixels it is not surely a frontal chest film: {what}"
