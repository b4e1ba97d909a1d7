"""WATCH: what senders did, by the hour and in all; alarms, and the notices of them that are still owed.

tables   its tables       films    taking films in, once each
alarms   what is wrong now, and who was told            figures  numbers for monitoring
"""

from gateway.ledger.watching.alarms import Alarming
from gateway.ledger.watching.figures import Figuring
from gateway.ledger.watching.films import TakingIn


class Watching(TakingIn, Alarming, Figuring):
    """All of it."""


__all__ = ["Watching"]
