"""The header gate: what an instance says of itself, before anyone looks at its pixels."""

from __future__ import annotations

from pipelines.film import Film, Finding
from pipelines.words.kinds import GATE
from pipelines.words.kinds import header_findings as header_findings


class HeaderGate:
    """No network; sees `film.header` only."""

    name = GATE

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        return header_findings(film.header)
