"""WATCH: when a sender leaves its own past. Values in, values out; `gateway.alarms` brings films and sends
word.

charts     the tests, and exactly how often they are wrong      following  one sender's rate, film by film
silence    whether a sender has been silent longer than usual for it
"""

from pipelines.watching.charts import Chart, Design, design
from pipelines.watching.following import FIRST_DESIGN, Judgement, Phase, Rate, Watch, follow
from pipelines.watching.silence import WEEKS, Silence, silence

__all__ = [
    "FIRST_DESIGN",
    "WEEKS",
    "Chart",
    "Design",
    "Judgement",
    "Phase",
    "Rate",
    "Silence",
    "Watch",
    "design",
    "follow",
    "silence",
]
