"""The policy file: what is understood of it, and what a complaint names."""

from __future__ import annotations

import pytest
from policy_films import (
    CHEST,
    DEFAULT_TEXT,
    OK,
    film,
    judge,
    rules,
)

from pipelines.policy import (
    Policy,
    PolicyError,
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            rules("{name: hold, wen: {any: [BLANK]}, act: quarantine, why: x}"),
            "rule 'hold': unknown key 'wen'.*'when'",
        ),
        (
            rules("{name: hold, when: {any: [BLANC]}, act: quarantine, why: x}"),
            "'hold': when: any: 'BLANC'.*'BLANK'",
        ),
        (
            rules("{name: hold, when: {any: [BLANK]}, act: quarantin, why: x}"),
            "'hold': act: 'quarantin'.*'quarantine'",
        ),
        (
            rules("{name: hold, when: {anotomy: [bad]}, act: withhold, why: x}"),
            "'hold'.*no gate 'anotomy'.*'anatomy'",
        ),
        (rules("{name: hold, when: {any: [BLANK]}, act: quarantine}"), "'hold': why must be a text"),
        (
            rules("{name: hold, when: {any: BLANK}, act: quarantine, why: x}"),
            "'hold': when: any must be a list",
        ),
        (rules("{name: hold, when: {}, act: quarantine, why: x}"), "'hold': when: needs a gate"),
        (
            rules("{name: c, when: {anatomy: [bad]}, claim: [agree], act: withhold, why: x}"),
            "'c': claim: 'agree'",
        ),
        (
            rules("{name: c, when: {any: [bad]}, claim: [agrees], act: withhold, why: x}"),
            "'c': claim: is about",
        ),
        (rules("{name: p, when: {any: [BLANK]}, act: pass, why: x}"), "'p': act: only"),
        (
            rules("{name: f, when: {any: [unsure]}, act: flag, why: x}"),
            "'f': act: a flag needs reasons by name",
        ),
        (rules("{name: f, when: {any: [GATE_FAILED]}, act: flag, why: x}"), "'f': act: a flag needs"),
        (rules("{name: g, when: {anatomy: [good]}, act: withhold, why: x}"), "'g': reason: is needed"),
        (
            rules("{name: r, when: {any: [INVERTED]}, act: correct, reason: BLANK, why: x}"),
            "'r': reason: belongs",
        ),
        (rules(OK, OK), "rule 'hold' stands twice"),
        (
            rules("{name: hold, when: {any: [BLANK], any: [OURS]}, act: withhold, why: x}"),
            "'any' stands here a second time",
        ),
        (rules("{when: {any: [BLANK]}, act: withhold, why: x}"), "rule 1: name must be a text"),
        (rules("hold"), "rule 1 must be a mapping"),
        (f"regions: {{chest: CHEST}}\n{rules(OK)}", "regions: chest must be a list of words"),
        (f"regions: {{chest: ['*']}}\n{rules(OK)}", "regions: chest: '\\*' holds no letter"),
        (f"regions: {{chest: [KÄFIG], other: [kafig]}}\n{rules(OK)}", "'KAFIG' stands under 'chest' and"),
        (f"regions: {{chest: ['TH*X']}}\n{rules(OK)}", "'TH\\*X': '\\*' stands at the beginning or the end"),
        (f"regions: {{Chest: [THO]}}\n{rules(OK)}", "regions: Chest: no region .* mean 'chest'"),
        (f"regions: {{others: [THO]}}\n{rules(OK)}", "regions: others: no region .* mean 'other'"),
        (f"regions: {{hip: HIP}}\n{rules(OK)}", "regions: hip must be a list of words"),
        (f"regions: {{hip: ['']}}\n{rules(OK)}", "regions: hip must be a text"),
        ("version: 2\nrules: []", "version: 1"),
        ("version: 1\nrules: []", "a list of rules"),
        ("version: 1\nrule: []", "unknown key 'rule'.*'rules'"),
        ("version: [", "not YAML"),
        ("", "must be a mapping"),
    ],
)
def test_a_policy_that_is_not_understood_is_refused_by_the_name_of_its_rule(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Policy.load(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version: 1\nversion: 1\n", "line 2: 'version' stands here a second time (line 1)"),
        ("version: 2\nrules: []\n", "line 1: the policy needs `version: 1`"),
        (rules(OK, OK), "line 5: rule 'hold' stands twice"),
        (rules(OK, "{name: b, when: {any: [BLANC]}}"), "line 5: rule 'b': when: any: 'BLANC' is not known"),
        (
            rules(OK, "name: b\n    when: {any: [BLANK]}\n    act: hold\n    why: x"),
            "line 7: rule 'b': act: 'hold' is not known",
        ),
        (
            rules(OK, "name: b\n    when: {any: [BLANK]}\n    act: pass"),
            "line 5: rule 'b': why must be a text",
        ),
        (
            "regions:\n  hip: [HIP]\n  others: [FOOT]\n" + rules(OK),
            "line 3: regions: others: no region is called so",
        ),
    ],
)
def test_a_complaint_names_the_line(text: str, complaint: str) -> None:
    """That of the key or word itself, or of the rule in which one is missing."""
    with pytest.raises(PolicyError) as raised:
        Policy.load(text)
    assert str(raised.value).startswith(complaint)
    assert str(raised.value) == f"line {raised.value.line}: {raised.value.words}"


def test_the_digest_follows_the_rules_and_not_their_layout() -> None:
    first = Policy.load(rules(OK)).digest
    assert Policy.load("# a comment\n" + rules(OK)).digest == first
    assert Policy.load(rules(OK.replace("empty", "blank"))).digest != first
    assert judge(CHEST, film()).policy_digest == Policy.load(DEFAULT_TEXT).digest
