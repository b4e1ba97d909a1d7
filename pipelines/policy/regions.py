"""Films of other body regions: how one that is no frontal chest stands with the gates of `work.regions`.

A region gate finds GOOD (surely its region), UNSURE or BAD. What it finds is no part of the rules for chests:
those decide first, and a film that they pass, correct or take for a frontal chest is none of its business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelines.film import Claim, Finding, Header, Reason, Verdict
from pipelines.words.vocabulary import PARTS, PartWords, plain, spellings

CHEST = "chest"  # the region of the rules in policy.yaml; no region gate can take its place

# What these gates say of a hip means nothing: they were made for chests.
FOR_CHESTS = frozenset({"inversion", "rotation", "mirror", "lungs"})

Words = Mapping[str, tuple[str, ...]]  # by region: words of BodyPartExamined that fit it


@dataclass(frozen=True, slots=True)
class Outlook:
    """A film that is no frontal chest, as one of another region; the header contradicts none of these.

    `sure` are findings of region gates that are GOOD, `doubts` those that are not sure or failed, and
    `against` is what the other gates have against the picture, whatever it shows.
    """

    sure: tuple[Finding, ...]
    doubts: tuple[Finding, ...]
    against: tuple[Finding, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that this film surely and cleanly shows."""
        return () if self.against else tuple(dict.fromkeys(finding.gate for finding in self.sure))

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What keeps it from passing as a film of its region; () when nothing speaks for one at all."""
        if self.sure:
            return self.against
        return (*self.against, *self.doubts) if self.doubts else ()


def outlook(
    header: Header,
    others: Iterable[Finding],
    regional: Iterable[Finding],
    words: Words,
    parts: PartWords = PARTS,
) -> Outlook | None:
    """How a film stands as one of another region; None when it may be a chest, or is not for AI at all.

    Args:
        others: findings of the gates that are no region gates, without those that were flagged.
        regional: findings of region gates, of the regions that somebody wants.
        words: what in BodyPartExamined fits a region; a region that is not named there fits its own name.
        parts: every word that names a part of the body.
    """
    others = tuple(others)
    # A word of the header says as little of a hip as of a chest: it keeps a film from AI, not from people.
    head = [one for one in others if one.gate == "header" and one.verdict is not Verdict.GOOD]
    if any(one.reason is not Reason.HEADER_WORD for one in head):
        return None
    claims = _claims_left([one for one in others if one.gate == "anatomy"])
    fitting = [one for one in regional if claim(header, one.gate, words, parts) in claims]
    against = head + [one for one in others if one.gate not in FOR_CHESTS | {"header", "anatomy"}]
    if not fitting:
        return None
    return Outlook(
        sure=tuple(one for one in fitting if one.verdict is Verdict.GOOD),
        doubts=tuple(one for one in fitting if one.verdict in (Verdict.UNSURE, Verdict.FAILED)),
        against=tuple(one for one in against if one.verdict is not Verdict.GOOD),
    )


def claim(header: Header, region: str, words: Words, parts: PartWords = PARTS) -> Claim:
    """How the header stands to a region: every part that BodyPartExamined names must fit it.

    A word that nobody knows names none.
    """
    if header.part == CHEST:
        return Claim.CONTRADICTS
    said = header.body_part.split("\\")
    fitting = [part for part in said if _fits(part, words.get(region, (region,)))]
    named = [part for part in said if part in fitting or parts.knows(part)]
    if not named:
        return Claim.SILENT
    return Claim.AGREES if named == fitting else Claim.CONTRADICTS


def _fits(part: str, words: Iterable[str]) -> bool:
    return any(written in plain(part) for word in words for written in spellings(word))


def released_as(findings: Iterable[Finding], names: Iterable[str]) -> tuple[str, ...]:
    """What a held film is sent on as when a person releases it: a chest, unless it is surely none and a gate
    for another region sees, or perhaps sees, its own."""
    findings = tuple(findings)
    anatomy = {one.verdict for one in findings if one.gate == "anatomy"}
    regional = [one for one in findings if one.gate in frozenset(names) - {CHEST}]
    sure = tuple(one.gate for one in regional if one.verdict is Verdict.GOOD)
    perhaps = tuple(one.gate for one in regional if one.verdict in (Verdict.UNSURE, Verdict.FAILED))
    if Verdict.GOOD in anatomy:
        return (CHEST,)
    return sure or (perhaps if anatomy == {Verdict.BAD} else ()) or (CHEST,)


def _claims_left(anatomy: list[Finding]) -> tuple[Claim, ...]:
    """What the header may say of the region after what the anatomy gate found: its silence is enough where
    the picture is surely another part; where the gate does not know, two opinions are needed."""
    if not anatomy or any(one.verdict in (Verdict.GOOD, Verdict.FAILED) for one in anatomy):
        return ()
    reasons = {one.reason for one in anatomy}
    if reasons == {Reason.OTHER_PART} and all(one.verdict is Verdict.BAD for one in anatomy):
        return (Claim.AGREES, Claim.SILENT)
    return (Claim.AGREES,) if reasons <= {Reason.OTHER_PART, Reason.UNKNOWN_ANATOMY} else ()
