"""What a form sends, before it is a value."""

from __future__ import annotations


def or_none(value: object) -> object:
    """None for a field that nothing was typed into: a form sends it, too."""
    return None if isinstance(value, str) and not value.strip() else value
