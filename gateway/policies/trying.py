"""TRY: what rules would change, on the last films, before they are put in force.

Each film is decided again by `pipelines.reconsider`, which is what the worker decides by, once by the rules
in force and once by those that are tried. A page of decisions is held at a time, and of the result the films
that change alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.ledger import Ledger
from gateway.ledger.steering.records import Decided
from pipelines.examine import Rules
from pipelines.film import Decision
from pipelines.grounds import Examined
from pipelines.reconsider import Reconsidered, reconsider

FEWEST_FILMS, MOST_FILMS = 50, 5000
# Rules by whose name nobody's rules decided: a Key Object, an object of our own, a film that was set aside.
NOT_BY_RULES = frozenset({"rejected", "ours", "parked"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What rules say of one film, as far as it makes a difference to anybody."""

    act: str
    rule: str
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    destinations: tuple[str, ...]
    copy_unseen: bool = False  # a copy would be made that the gates have not seen yet

    @classmethod
    def of(cls, said: Reconsidered) -> Outcome:
        decision: Decision = said.decision
        return cls(
            act=decision.act.value,
            rule=decision.rule,
            reasons=tuple(map(str, decision.reasons)),
            flags=tuple(map(str, decision.flags)),
            destinations=decision.destinations,
            copy_unseen=said.copy_unseen,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One film of which the rules that are tried say something else than those in force."""

    film_id: int
    digest: str
    was: Outcome
    would_be: Outcome

    @property
    def kind(self) -> str:
        """What changes, in words; one kind is one row of the summary."""
        was, would_be = self.was, self.would_be
        if was.act != would_be.act:
            return f"{was.act} → {would_be.act}"
        if was.destinations != would_be.destinations:
            return f"{was.act}, to other destinations"
        if (was.rule, was.reasons) != (would_be.rule, would_be.reasons):
            return f"{was.act}, by another rule or reason"
        return f"{was.act}, with other notes"


@dataclass(frozen=True, slots=True)
class Tried:
    """The result. `drifted` films were decided otherwise at the time than the rules in force say, `untold`
    were decided before what that rests on was kept, `not_by_rules` were decided by no rule at all."""

    films: int = 0
    changes: tuple[Change, ...] = ()
    drifted: tuple[int, ...] = ()  # film ids
    untold: int = 0
    not_by_rules: int = 0
    kinds: dict[str, int] = field(default_factory=dict)


def try_rules(
    ledger: Ledger,
    in_force: Rules,
    tried: Rules,
    films: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Tried:
    """What `tried` would change on the last `films` films.

    `progress` is told how many are done; what it raises ends the work.
    """
    changes, drifted, counts, done = list[Change](), list[int](), Counter[str](), 0
    for decided in ledger.decided(films):
        done += 1
        progress(done)
        if decided.rule in NOT_BY_RULES:
            counts["not by rules"] += 1
        elif decided.examined is None:
            counts["untold"] += 1
        else:
            was = _said(decided.examined, in_force)
            if not _is_as_decided(decided, was):
                drifted.append(decided.film_id)
            would_be = _said(decided.examined, tried) if tried != in_force else was
            if would_be != was:
                changes.append(Change(decided.film_id, decided.digest, was, would_be))
    kinds = Counter(change.kind for change in changes)
    return Tried(
        films=done,
        changes=tuple(changes),
        drifted=tuple(drifted),
        untold=counts["untold"],
        not_by_rules=counts["not by rules"],
        kinds=dict(kinds.most_common()),
    )


def _said(examined: Examined, rules: Rules) -> Outcome:
    return Outcome.of(reconsider(examined, rules))


def _is_as_decided(decided: Decided, now: Outcome) -> bool:
    """Whether the rules in force say what stands in the ledger."""
    then = (decided.act, decided.rule, decided.reasons)
    return then == (now.act, now.rule, now.reasons)
