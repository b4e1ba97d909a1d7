"""The ledger is put together of parts, each with names of its own."""

from __future__ import annotations

from collections import defaultdict

from gateway.ledger import Ledger


def test_no_two_parts_have_a_method_of_the_same_name() -> None:
    """The one that is named first would quietly stand in for the other."""
    parts = defaultdict[str, list[str]](list)
    for part in Ledger.__mro__[:-1]:
        for name in vars(part):
            if not name.startswith("__"):
                parts[name].append(part.__name__)
    assert {name: its for name, its in parts.items() if len(its) > 1} == {}
