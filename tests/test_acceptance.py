"""Which qualified films a destination takes, and why it does not take one."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from dicom_files import dx, ramp
from policy_films import (
    CHEST,
    TODAY,
    film,
    judge,
)
from pydicom.uid import (
    ComputedRadiographyImageStorage,
)

from gateway.settings import Accepts as Block
from models.classifiers.accepts import Accepts
from pipelines.film import Act, Header, Operations, Reason
from pipelines.header import read_header
from pipelines.policy import (
    Acceptance,
    accepts,
)
from pipelines.policy.acceptance import claimed_view
from pipelines.policy.deciding import ACCEPTS

W, Q, C, P = Act.WITHHOLD, Act.QUARANTINE, Act.CORRECT, Act.PASS


def test_no_day_lies_between_the_ais_for_children_and_for_adults() -> None:
    """The shipped example: on each day around the 18th birthday exactly one takes the film."""
    text = (Path(__file__).parents[1] / "config" / "hospital.yaml").read_text(encoding="utf-8")
    blocks = yaml.safe_load(text)["destinations"]
    ages = {name: blocks[name]["accepts"] for name in ("chest-ai", "chest-ai-children")}
    takers = {
        name: Acceptance(min_age=block["min_age"], max_age=block.get("max_age", 200.0))
        for name, block in ages.items()
    }
    told = []
    for days in range(-400, 400):
        born = date(2008, 11, 1) - timedelta(days=days)
        header = read_header(dx(ramp(), PatientAge=None, PatientBirthDate=f"{born:%Y%m%d}"))
        told.append([name for name, ai in takers.items() if accepts(ai, header, TODAY)[0]])
    assert told == [["chest-ai-children"]] * 400 + [["chest-ai"]] * 400


def test_an_age_that_could_not_be_read_is_told() -> None:
    """In the words of the decision where it held the film, in its trace where another age was found."""
    unread = read_header(dx(ramp(), PatientAge="XX", PatientBirthDate=None))
    decision = judge(unread, film())
    assert decision.act is W
    assert "chest-ai: the age is unknown: the age 'XX' could not be read" in decision.why
    other = judge(read_header(dx(ramp(), PatientAge="XX")), film())
    assert (other.act, other.trace[-1]["because"]) == (
        P,
        "taken by chest-ai; the age 'XX' could not be read",
    )


def test_a_child_is_kept_from_an_adult_ai_and_told_why() -> None:
    decision = judge(replace(CHEST, age_years=3), film())
    assert (decision.act, decision.rule, decision.reasons) == (W, ACCEPTS, (Reason.NO_AI_ACCEPTS,))
    assert "chest-ai: age 3 is under 10" in decision.why


def test_no_copy_is_made_for_an_ai_that_would_not_take_it() -> None:
    decision = judge(replace(CHEST, age_years=3), film("INVERTED"))
    assert (decision.act, decision.operations) == (W, Operations())
    assert decision.reasons == (Reason.NO_AI_ACCEPTS, Reason.INVERTED)


def test_a_film_goes_to_each_destination_that_takes_it() -> None:
    takers = {
        "adults": Acceptance(),
        "children": Acceptance(min_age=0, max_age=9),
        "all": Acceptance(min_age=0),
    }
    assert judge(CHEST, film(), destinations=takers).destinations == ("adults", "all")


def test_a_good_film_passes_where_no_ai_is_configured() -> None:
    decision = judge(CHEST, film(), destinations={})
    assert (decision.act, decision.destinations) == (P, ())


@pytest.mark.parametrize(
    ("change", "acceptance", "why_not"),
    [
        ({}, Acceptance(), ""),
        ({"age_years": 10.0}, Acceptance(), ""),
        ({"age_years": 9.99}, Acceptance(), "age 9.9 is under 10"),
        ({"age_years": 90}, Acceptance(max_age=80), "age 90 is over 80"),
        ({"age_years": 17.997}, Acceptance(max_age=17), ""),
        ({"age_years": 18.0}, Acceptance(max_age=17), "age 18 is over 17"),
        ({"age_years": 1.9}, Acceptance(min_age=0, max_age=1), ""),
        ({"age_years": 1.0}, Acceptance(min_age=0, max_age=0.5), "age 1 is over 0.5"),
        ({"age_years": None}, Acceptance(), "the age is unknown"),
        ({"age_years": float("nan")}, Acceptance(), "the age is unknown"),
        ({"age_years": None}, Acceptance(unknown_age=True), ""),
        (
            {"age_years": None, "age_doubt": "the age 'XX' could not be read"},
            Acceptance(),
            "the age is unknown: the age 'XX' could not be read",
        ),
        ({"modality": "RF"}, Acceptance(), "modality RF is not taken"),
        ({"modality": ""}, Acceptance(), ""),
        ({"modality": "", "sop_class_uid": ""}, Acceptance(), "modality unknown is not taken"),
        (
            {"modality": "", "sop_class_uid": ComputedRadiographyImageStorage},
            Acceptance(modalities=("CR",)),
            "",
        ),
        ({}, Acceptance(views=("AP",)), "view PA is not taken"),
        ({"view_position": "", "view": ""}, Acceptance(views=("PA",)), "view frontal is not taken"),
        ({}, Acceptance(max_study_age_days=19), ""),
        ({}, Acceptance(max_study_age_days=18), "the study is 19 days old"),
        ({"study_date": "20261399"}, Acceptance(max_study_age_days=9), "the study date is unknown"),
        ({"study_date": "20261120"}, Acceptance(max_study_age_days=0), ""),
        ({"study_date": "20261121"}, Acceptance(max_study_age_days=0), ""),
        ({"study_date": "20261122"}, Acceptance(max_study_age_days=0), "the study is dated 2 days ahead"),
        ({"study_date": "20271225"}, Acceptance(max_study_age_days=9), "the study is dated 400 days ahead"),
        ({"study_date": "20271225"}, Acceptance(), ""),
        ({"age_years": 3, "modality": "MR"}, Acceptance(), "modality MR is not taken; age 3 is under 10"),
    ],
)
def test_a_destination_says_why_it_does_not_take_a_film(
    change: dict[str, object], acceptance: Acceptance, why_not: str
) -> None:
    assert accepts(acceptance, replace(CHEST, **change), TODAY) == (not why_not, why_not)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("view_position", "view", "expected"),
    [
        ("PA", "frontal", "PA"),
        ("AP SUPINE", "frontal", "AP"),
        ("PORTABLE AP", "frontal", "AP"),
        ("POSTERO-ANTERIOR", "frontal", "PA"),
        ("APICAL", "", "frontal"),  # no AP in it
        ("PATELLA", "", "frontal"),
        ("AP\\PA", "frontal", "frontal"),
        ("", "", "frontal"),
        ("LL", "lateral", "frontal"),
    ],
)
def test_pa_and_ap_are_taken_from_the_header(view_position: str, view: str, expected: str) -> None:
    assert claimed_view(Header(view_position=view_position, view=view)) == expected


def test_card_settings_and_policy_take_the_same_films_unless_told() -> None:
    """One value: a card says the first five of its words, a destination's block all of them."""
    assert Acceptance(**Block().model_dump()) == Acceptance.of(Accepts()) == Acceptance()
    assert [field.name for field in fields(Acceptance)] == list(Block.model_fields)


def test_what_a_card_says_is_read_in_any_case_of_its_words() -> None:
    card = {"views": ["pa", "FRONTAL"], "min_age": 1, "max_age": 5.99, "modalities": ["dx"]}
    assert Accepts.read(card) == Accepts(("PA", "frontal"), 1, 5.99, False, ("DX",))
    assert Accepts.read({}) == Accepts()


@pytest.mark.parametrize(
    "card",
    [
        {"views": ["oblique"]},
        {"modalities": ["CT"]},
        {"min_age": "ten"},
        {"max_age": float("nan")},
        {"min_age": -1},
        {"unknown_age": "yes"},
        {"weight_kg": 80},
    ],
)
def test_a_card_that_names_no_film_is_refused(card: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"unknown|an age is|true or false"):
        Accepts.read(card)
