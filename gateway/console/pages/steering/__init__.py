"""What admins steer: the policy, the bypass of the gates, destinations, senders.

policy        rules in force, an editor that says what is wrong, versions, the bypass
tries         what rules would change on the last films; runs beside the pages
destinations  how each stands, a test in words, pause, resume, send again
senders       who sends, who was refused, who may send, whose films are only observed
"""

from gateway.console.pages.steering import destinations, policy, senders
from gateway.console.pages.steering.tries import Tries

__all__ = ["Tries", "destinations", "policy", "senders"]
