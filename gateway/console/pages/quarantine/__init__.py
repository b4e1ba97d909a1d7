"""Quarantine, the contact sheet: held films, large, in blocks, decided by one key each.

asked   what the address asks for: filters, order, grouping
cards   a hold as its card shows it; words for what the gates saw and for the proposed fix
routes  the page, its further cards, and what changed since
"""

from gateway.console.pages.quarantine.routes import router

__all__ = ["router"]
