"""The policy: its rules in their order, as a YAML file has them. A complaint names the line and the rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pipelines import lined_yaml
from pipelines.film import Act, Claim, Header, Reason, Verdict
from pipelines.header import part_named
from pipelines.lined_yaml import Loc, YamlError
from pipelines.policy.regions import CHEST
from pipelines.policy.values import ALL, ANY, FLAG, Rule, Term
from pipelines.words import vocabulary

DEFAULT_RULES = Path(__file__).with_name("policy.yaml")
NEVER_FLAGGED = frozenset({Reason.GATE_FAILED, Reason.MODEL_MISSING})
OTHER = "other"  # among `regions`: words of parts that are no chest
ROOM_WORDS = (CHEST, OTHER)  # what no region's gate is called
TOP_KEYS = ("version", "requires", "optional", "regions", "rules")
RULE_KEYS = ("name", "when", "claim", "act", "reason", "why")

E = TypeVar("E", bound=StrEnum)


class PolicyError(ValueError):
    """Raised when a policy file cannot be understood; `line` counts from 1, `words` name the rule."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(f"line {line}: {words}")
        self.line = line
        self.words = words


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules in their order, the gates that must have spoken, and the digest of it all.

    `region_words` are the words of BodyPartExamined that fit a region other than the chest, `parts` what its
    words mean for the chest: those that filmgate knows, and the site's own.
    """

    rules: tuple[Rule, ...]
    requires: tuple[str, ...]
    digest: str
    region_words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: vocabulary.PartWords = vocabulary.PARTS

    def reads(self, header: Header) -> Header:
        """The header as the site's own words have it; the same where they say nothing new."""
        values = header.body_part.split("\\")
        part = part_named(values, self.parts)
        return header if part == part_named(values) else replace(header, part=part)

    @staticmethod
    def load(text: str) -> Policy:
        """The policy that a YAML text describes.

        Raises:
            PolicyError: it is not YAML, has a key twice, or holds words that nobody knows.
        """
        try:
            tree = lined_yaml.parse(text)
        except YamlError as error:
            raise PolicyError(error.line, error.words) from error
        return _policy(_Part(tree.lines, tree.value, (), "the policy"))

    @property
    def words(self) -> frozenset[Term]:
        """What the rules name of findings: BLANK, BLANK?, bad ..."""
        return frozenset(term for rule in self.rules for _, terms in rule.when for term in terms)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What the shipped rules name and these do not, in the order of the shipped ones: HEADER_WORD,
        SECONDARY? ... A film with it passes under these rules as little as one that nothing explains."""
        shipped = (t for rule in Policy.default().rules for _, terms in rule.when for t in terms)
        return tuple(dict.fromkeys(str(term) for term in shipped if term.reason and term not in self.words))

    @staticmethod
    @cache
    def default() -> Policy:
        """The shipped rules."""
        return Policy.load(DEFAULT_RULES.read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the file: its value, the path to it, and what complaints call it."""

    lines: Mapping[Loc, int]
    value: Any
    loc: Loc
    name: str

    def fault(self, words: str) -> PolicyError:
        """A complaint about this part, which begins with its name; the line is its own, or that of the part
        in which it ought to stand."""
        above = (self.loc[:depth] for depth in range(len(self.loc), 0, -1))
        line = next((self.lines[loc] for loc in above if loc in self.lines), 1)
        return PolicyError(line, f"{self.name}{words}")

    def at(self, key: str | int, name: str, value: Any) -> _Part:
        return _Part(self.lines, value, (*self.loc, key), name)

    def keys(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.fault(" must be a mapping of keys to values")
        return self.value

    def key(self, key: str, name: str = "", absent: Any = None) -> _Part:
        """The part under a key, with the value `absent` where the key does not stand there."""
        return self.at(key, name or f"{self.name}: {key}", self.keys().get(key, absent))

    def has(self, key: str) -> bool:
        return key in self.keys()

    def each(self) -> Iterator[_Part]:
        """The parts under its keys; a complaint names their keys."""
        return (self.key(key) for key in self.keys())

    def known(self, keys: tuple[str, ...]) -> None:
        for key in self.keys():
            if key not in keys:
                raise self.at(key, self.name, None).fault(f": unknown key {key!r}{_nearest(key, keys)}")

    def words(self) -> tuple[_Part, ...]:
        if not isinstance(self.value, list) or not all(isinstance(word, str) for word in self.value):
            raise self.fault(" must be a list of words")
        return tuple(self.at(index, self.name, word) for index, word in enumerate(self.value))

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.fault(" must be a text")
        return " ".join(self.value.split())

    def one_of(self, kind: type[E], *more: str) -> E:
        known = (*(str(member) for member in kind), *more)
        if self.value not in known or self.value in more:
            raise self.fault(f": {self.value!r} is not known{_nearest(self.value, known)}")
        return kind(self.value)


def _policy(top: _Part) -> Policy:
    top.known(TOP_KEYS)
    version = top.key("version", top.name)
    if version.value != 1:
        raise version.fault(" needs `version: 1`")
    requires = _texts(top.key("requires", "requires", []))
    gates = (*requires, *_texts(top.key("optional", "optional", [])))
    listed = top.key("rules", top.name)
    if not isinstance(listed.value, list) or not listed.value:
        raise listed.fault(" needs a list of rules")
    rules = dict[str, Rule]()
    for index, entry in enumerate(listed.value):
        rule = _rule(listed.at(index, f"rule {index + 1}", entry), gates)
        if rule.name in rules:
            raise listed.at(index, f"rule {rule.name!r}", entry).fault(" stands twice")
        rules[rule.name] = rule
    fitting = _region_words(top.key("regions", "regions", {}))
    parts = vocabulary.PARTS.adding(fitting.pop(CHEST, ()), fitting.pop(OTHER, ()))
    return Policy(tuple(rules.values()), requires, _digest(top.keys()), fitting, parts)


def _digest(document: dict[str, Any]) -> str:
    """The same for the same rules, whatever their layout."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _region_words(part: _Part) -> dict[str, tuple[str, ...]]:
    """By region, by `chest` and by `other`: the words of BodyPartExamined that fit it."""
    fitting: dict[str, tuple[str, ...]] = {}
    for region in part.each():
        name = str(region.loc[-1])
        near = get_close_matches(name.lower(), ROOM_WORDS, n=1, cutoff=0.8)
        if near and name not in ROOM_WORDS:
            raise region.fault(f": no region is called so; did you mean {near[0]!r}?")
        fitting[name] = tuple(_region_word(word, name) for word in region.words())
    chest, other = ({vocabulary.spaced(word) for word in fitting.get(name, ())} for name in ROOM_WORDS)
    if chest & other:
        raise part.fault(f": {min(chest & other)!r} stands under {CHEST!r} and under {OTHER!r}")
    return fitting


def _region_word(part: _Part, region: str) -> str:
    word = part.text()
    if not vocabulary.spaced(word):
        raise part.fault(f": {word!r} holds no letter")
    if region in ROOM_WORDS and "*" in word.strip("*"):
        raise part.fault(f": {word!r}: '*' stands at the beginning or the end of a word")
    return word


def _rule(entry: _Part, gates: tuple[str, ...]) -> Rule:
    name = entry.key("name").text()
    part = replace(entry, name=f"rule {name!r}")
    part.known(RULE_KEYS)
    rule = Rule(
        name=name,
        when=tuple(_condition(condition, part.name, gates) for condition in part.key("when").each()),
        act=_act(part.key("act")),
        why=part.key("why").text(),
        claims=tuple(word.one_of(Claim) for word in part.key("claim", absent=[]).words()),
        reason=part.key("reason").one_of(Reason) if part.has("reason") else None,
    )
    if fault := _unsafe(rule):
        raise part.fault(f": {fault}")
    return rule


def _unsafe(rule: Rule) -> str:
    """What makes a rule unfit although its words are known; "" when nothing does."""
    gates = [gate for gate, _ in rule.when]
    terms = [term for _, listed in rule.when for term in listed]
    named = {term.reason for term in terms}
    if not terms:
        return "when: needs a gate and what it may say"
    if rule.claims and gates != ["anatomy"]:
        return "claim: is about the anatomy gate, which must be the only one in `when`"
    if rule.act is Act.PASS and (gates != [ALL] or terms != [Term(Verdict.GOOD)]):
        return "act: only `when: {all: [good]}` may pass"
    if rule.act is None and (None in named or named & NEVER_FLAGGED):
        return "act: a flag needs reasons by name, and never that of a gate that failed"
    if rule.act in (Act.WITHHOLD, Act.QUARANTINE) and Term(Verdict.GOOD) in terms and rule.reason is None:
        return "reason: is needed, since a good finding gives none"
    if rule.reason is not None and rule.act not in (Act.WITHHOLD, Act.QUARANTINE):
        return "reason: belongs to withhold and quarantine"
    return ""


def _condition(part: _Part, rule: str, gates: tuple[str, ...]) -> tuple[str, tuple[Term, ...]]:
    gate, known = str(part.loc[-1]), (*gates, ANY, ALL)
    if gate not in known:
        raise replace(part, name=f"{rule}: when").fault(f": no gate {gate!r}{_nearest(gate, known)}")
    return gate, tuple(_term(word) for word in part.words())


def _term(part: _Part) -> Term:
    word = str(part.value)
    if word in set(Verdict):
        return Term(Verdict(word))
    verdict = Verdict.UNSURE if word.endswith("?") else Verdict.BAD
    return Term(verdict, replace(part, value=word.removesuffix("?")).one_of(Reason))


def _act(part: _Part) -> Act | None:
    return None if part.value == FLAG else part.one_of(Act, FLAG)


def _texts(part: _Part) -> tuple[str, ...]:
    return tuple(word.value for word in part.words())


def _nearest(word: object, known: Iterable[str]) -> str:
    close = get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
