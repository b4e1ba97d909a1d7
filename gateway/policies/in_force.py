"""POLICY: the rules in force: a version that people put in the ledger, else those of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.errors import FilmgateError, PolicyDamaged
from gateway.ledger import Ledger
from gateway.ledger.steering.records import Version
from pipelines.policy import Policy, PolicyError

LONGEST_TEXT = 256 << 10  # characters


@dataclass(frozen=True, slots=True)
class InForce:
    """The rules in force; `version` is None where people put none in the ledger."""

    policy: Policy
    version: Version | None

    @property
    def of_settings(self) -> bool:
        return self.version is None or self.version.text is None


class Rulebook:
    """The rules in force, read anew when somebody put others in force.

    Args:
        base: the rules of the settings.
    """

    def __init__(self, ledger: Ledger, base: Policy) -> None:
        self.base = base
        self._ledger = ledger
        self._known: tuple[int | None, Policy] = (None, base)

    def policy(self, version_id: int | None) -> Policy:
        """The rules of the version that is in force now, as `Ledger.steered` names it.

        Raises:
            PolicyDamaged: they are not what was put in force, or this filmgate cannot use them.
        """
        if self._known[0] != version_id:
            self._known = (version_id, self._read(version_id))
        return self._known[1]

    def in_force(self) -> InForce:
        """
        Raises:
            PolicyDamaged: see `policy`.
        """
        version = self._ledger.policy_version()
        return InForce(self.base if version is None else self.loaded(version), version)

    def use(self, text: str, *, by: str, note: str, now: datetime, again: int | None = None) -> Version:
        """Put rules in force, from the next film on; nothing is written when they cannot be used.

        Raises:
            PolicyError: they cannot be used; names line and rule.
            FilmgateError: they are too long.
        """
        digest = checked(text).digest
        return self._ledger.put_policy(text, digest, by=by, note_text=note, now=now, again=again)

    def use_again(self, version_id: int | None, *, by: str, note: str, now: datetime) -> Version:
        """Put an older version in force once more, as a new one; None: the rules of the settings.

        Raises:
            NotFound: there is no such version.
            PolicyDamaged: see `policy`.
        """
        version = self._ledger.policy_version(version_id) if version_id is not None else None
        said = {"by": by, "note_text": note, "now": now, "again": version_id}
        if version is None or version.text is None:
            return self._ledger.put_policy(None, self.base.digest, **said)  # type: ignore[arg-type]
        return self._ledger.put_policy(version.text, self.loaded(version).digest, **said)  # type: ignore[arg-type]

    def loaded(self, version: Version) -> Policy:
        """The rules of a version.

        Raises:
            PolicyDamaged: this filmgate cannot use its text.
        """
        if version.text is None:
            return self.base
        try:
            return Policy.load(version.text)
        except PolicyError as error:
            raise PolicyDamaged(
                f"version {version.id} of the policy cannot be used by this filmgate: {error}. No film is "
                "decided, and no AI gets one that the gates must see; they wait. Put other rules in force."
            ) from error

    def _read(self, version_id: int | None) -> Policy:
        version = self._ledger.policy_version(version_id) if version_id is not None else None
        return self.base if version is None else self.loaded(version)


def checked(text: str) -> Policy:
    """
    Raises:
        PolicyError: it cannot be used; names line and rule.
        FilmgateError: it is too long to be one.
    """
    if len(text) > LONGEST_TEXT:
        raise FilmgateError(f"a policy has {LONGEST_TEXT >> 10} KiB at most. Nothing was changed.")
    return Policy.load(text)
