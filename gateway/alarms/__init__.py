"""WATCH: what is wrong now, and word of it to people. The dispatcher runs it, on threads of its own.

looking       films taken in, rates followed, everything else looked at: the alarms that hold now
conditions    each of the other alarms, from the ledger and this machine
health        the same in one sentence, for the page Today          words    how an alarm is said
telling       who is told, and tried again where that failed       mail, hook    the two ways
"""

from gateway.alarms.looking import Looker
from gateway.alarms.telling import Telling, ways

__all__ = ["Looker", "Telling", "ways"]
