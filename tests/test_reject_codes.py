"""The codes by which films are rejected mean what the Standard says they do: PS3.16 CID 7010 and 7011."""

from __future__ import annotations

from pydicom.sr.codedict import codes

from gateway.console.pages.quarantine.rejecting import REJECTS
from gateway.ledger.labelling.derived import ABOUT_EXPOSURE
from pipelines.film import PATIENT_SAFETY, REJECT_REASONS, REJECTION_TITLES, Reason
from pipelines.report.codes import OTHER_FAILURE, QUALITY_CODES, QUALITY_TITLE, REJECTION, SAFETY_TITLE


def context_group(name: str) -> dict[str, str]:
    """Code value -> meaning, of a context group of DCM codes as pydicom has it."""
    group = getattr(codes, name)
    found = [getattr(group, word) for word in group.dir()]
    assert {one.scheme_designator for one in found} == {"DCM"}
    return {one.value: one.meaning for one in found}


TITLES, REASONS = context_group("cid7010"), context_group("cid7011")


def test_titles_are_those_of_cid_7010() -> None:
    assert {code: TITLES.get(code) for code in REJECTION_TITLES} == REJECTION_TITLES
    assert {one.value: one.meaning for one in (QUALITY_TITLE, SAFETY_TITLE)}.items() <= TITLES.items()


def test_reasons_are_all_of_cid_7011_and_patient_safety() -> None:
    assert REASONS | {PATIENT_SAFETY: TITLES[PATIENT_SAFETY]} == REJECT_REASONS
    assert {code: one.meaning for code, one in QUALITY_CODES.items()} == REASONS


def test_what_follows_from_the_gates_is_of_cid_7011() -> None:
    used = {one.value: one.meaning for one in (*REJECTION.values(), OTHER_FAILURE)}
    assert used.items() <= REASONS.items()
    assert set(REJECTION) <= set(Reason)


def test_the_menu_says_what_the_standard_says() -> None:
    assert {one.code: one.words for one in REJECTS}.items() <= REJECT_REASONS.items()


def test_exposure_is_what_its_codes_are_about() -> None:
    """A rejection for any of these says that the exposure is unusable; for no other."""
    meanings = {REASONS[code] for code in ABOUT_EXPOSURE}
    assert meanings == {"Double exposure", "Under exposed", "Over exposed", "No image"}
