"""All that people steer, as one part of the ledger."""

from gateway.ledger.steering.flow import Steering
from gateway.ledger.steering.policies import Policies
from gateway.ledger.steering.senders import Senders


class Steer(Steering, Policies, Senders):
    """Modes, bypass, pauses, versions of the policy, and who sends."""
