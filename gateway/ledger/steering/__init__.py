"""STEER: what people change while the gateway runs, in the ledger, so that every process acts by it at once.

flow       modes of senders, the bypass, pauses, who may send: `steered` is a cheap look at all of it
policies   versions of the rules, and decisions on which others can be tried
senders    who sends, who was refused
"""

from gateway.ledger.steering.flow import LONGEST_BYPASS as LONGEST_BYPASS
from gateway.ledger.steering.flow import Steering
from gateway.ledger.steering.flow import mode_of_version as mode_of_version
from gateway.ledger.steering.policies import Policies
from gateway.ledger.steering.senders import Senders


class Steer(Steering, Policies, Senders):
    """All of it."""
