"""How the header stands to what the anatomy gate says of a film."""

from __future__ import annotations

from pipelines.film import Claim, Finding, Header, Reason, Verdict
from pipelines.words.kinds import OTHER_PART_MODALITIES


def claim(header: Header, finding: Finding) -> Claim:
    """How the header stands to what the anatomy gate says.

    A header that names another part, or a view that is not frontal, rules out a frontal chest. It agrees with
    every finding that does so too, whichever other part or view that is: both opinions keep the film from AI.
    "Frontal" alone is no claim of a chest: hands are PA as well. Modality MG, IO and PX are breast or teeth.
    """
    elsewhere = header.part == "other" or header.modality in OTHER_PART_MODALITIES
    denies = elsewhere or header.view in ("lateral", "other")
    affirms = header.part == "chest" or header.view == "frontal"
    if finding.verdict is Verdict.GOOD:
        return Claim.CONTRADICTS if denies else Claim.AGREES if affirms else Claim.SILENT
    if denies:
        return Claim.AGREES
    disputed = header.view == "frontal" if finding.reason is Reason.LATERAL else header.part == "chest"
    return Claim.CONTRADICTS if disputed else Claim.SILENT
