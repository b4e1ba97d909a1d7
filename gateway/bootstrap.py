"""Settings -> the real things of the shell. Nothing else constructs them; tests swap them here.

The courier alone is made where it runs (`gateway.dispatcher`): what sends loads the network's libraries, and
no worker sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import redis_server
from gateway.ledger import Ledger
from gateway.policies.in_force import Rulebook
from gateway.process import clock, private
from gateway.process.wake import Wake
from gateway.quarantine import Quarantine
from gateway.sandbox.decoder import Decoder
from gateway.sandbox.reporter import Reporter
from gateway.settings import ClassifierDestination, Settings, WebhookDestination, classifier
from gateway.settings.lined_yaml import text_of
from gateway.store import Store
from pipelines.examine import Rules
from pipelines.policy import Acceptance, Policy

if TYPE_CHECKING:
    from gateway.doorbell import Doorbell

REPORT_TIMEOUT_S = 30.0  # of one result; the first one waits for highdicom to be loaded


def now() -> datetime:
    """The shell's clock: aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Shell:
    """The things that every process of one gateway shares."""

    settings: Settings
    ledger: Ledger
    store: Store

    @classmethod
    def open(cls, settings: Settings, *, migrate_first: bool = False) -> Shell:
        """Open ledger and store.

        Raises:
            LedgerError: the ledger cannot be used (see its subclasses).
            StoreError: the state folder cannot be used.
            FilmgateError: the state folder belongs to another user, or is open to others.
        """
        private.claim(settings.state)
        timeout_s = settings.ledger.busy_timeout_s
        ledger = Ledger.open(
            settings.ledger_url,
            busy_timeout_s=timeout_s,
            migrate_first=migrate_first,
            wake=Wake(settings.state),
        )
        return cls(settings, ledger, Store(settings.state, settings.store.min_free_mb))

    def close(self) -> None:
        self.ledger.close()

    @property
    def always(self) -> tuple[str, ...]:
        """Destinations that get every object before any gate; in observe mode the AI's are among them.

        A classifier of ours never is: it reads after the gates, whatever they found.
        """
        routes = self.settings.routes
        observing = self.settings.ai if self.settings.policy.mode == "observe" else ()
        return tuple(dict.fromkeys(routes.always + observing))

    def today(self) -> date:
        """The day by the hospital's clock, by which the age of a study is counted."""
        return clock.today(self.settings.gateway.time_zone, now())

    def doorbell(self) -> Doorbell:
        from gateway.doorbell import Doorbell  # noqa: PLC0415  Celery takes 16 MB, and the console rings nobody

        return Doorbell(redis_server.celery_url(self.settings), redis_server.redis_url(self.settings))

    def decoder(self) -> Decoder:
        work, zone = self.settings.work, self.settings.gateway.time_zone
        return Decoder(timeout_s=work.decode_timeout_s, memory_mb=work.decode_memory_mb, zone=zone)

    def reporter(self) -> Reporter:
        memory_mb, zone = self.settings.work.decode_memory_mb, self.settings.gateway.time_zone
        return Reporter(timeout_s=REPORT_TIMEOUT_S, memory_mb=memory_mb, zone=zone)

    def quarantine(self) -> Quarantine:
        return Quarantine(
            self.ledger,
            self.store,
            self.settings.routes,
            known=[name for name, block in self.settings.destinations.items() if block.kind != "webhook"],
            rejection_notes=self.settings.quarantine.rejection_notes,
            release_delay_s=self.settings.quarantine.release_delay_s,
            decoder=self.decoder,
            reporter=self.reporter,
            clock=now,
        )

    def rulebook(self) -> Rulebook:
        """The rules in force, as people steer them.

        Raises:
            SettingsError, PolicyError: see `policy`.
        """
        return Rulebook(self.ledger, self.policy())

    def rules(self, policy: Policy) -> Rules:
        """The policy with what the settings say beside it; the names of region gates are not among it."""
        said = self.settings.policy
        return Rules(policy, self.today(), self.acceptances(), said.mode, said.correct)

    def policy(self) -> Policy:
        """The rules of the settings: the site's file, or the default that ships.

        Raises:
            SettingsError: the file cannot be read.
            PolicyError: the rules cannot be used; names the rule.
        """
        path = self.settings.policy.file
        return Policy.load(text_of(path)) if path else Policy.default()

    def acceptances(self) -> Mapping[str, Acceptance]:
        """What each AI destination of routes.pass accepts."""
        return {name: self._acceptance(name) for name in self.settings.routes.pass_}

    def _acceptance(self, name: str) -> Acceptance:
        if ours := self.settings.classifiers.get(name):
            return classifier.acceptance(ours, name)
        block = self.settings.destinations[name]
        assert not isinstance(block, ClassifierDestination | WebhookDestination)  # no such route is valid
        return Acceptance(**block.accepts.model_dump())

    def models(self) -> dict[str, Any]:
        """The arguments of `pipelines.gates.load`: bundles, their variants, and further regions."""
        work = self.settings.work
        options = {"variants": work.variants, "regions": work.regions}
        return {"bundles": Path(work.bundles) if work.bundles else None} | {
            name: value for name, value in options.items() if value
        }
