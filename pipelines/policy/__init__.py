"""Findings + header -> Decision, by the rules of policy.yaml beside this file; the first that fits decides.

`loading` reads the rules, `deciding` tries them, `acceptance` says which AI takes a film that may go on,
`owing` who is owed it then.
"""

from pipelines.policy.acceptance import Acceptance as Acceptance
from pipelines.policy.acceptance import accepts as accepts
from pipelines.policy.acceptance import would_take as would_take
from pipelines.policy.correction import sent_at_once as sent_at_once
from pipelines.policy.deciding import decide as decide
from pipelines.policy.deciding import decide_unreadable as decide_unreadable
from pipelines.policy.loading import DEFAULT_RULES as DEFAULT_RULES
from pipelines.policy.loading import Policy as Policy
from pipelines.policy.loading import PolicyError as PolicyError
from pipelines.policy.values import NOBODY as NOBODY
from pipelines.policy.values import Correct as Correct
from pipelines.policy.values import Mode as Mode
