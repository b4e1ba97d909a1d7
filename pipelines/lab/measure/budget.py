"""One budget of false alarms: what the whole chain may lose of clean films, shared out over its gates.

The shares are in parts per million, so that their sum is exact. Thresholds follow from this table
(`calibrate`). How the whole is shared out was settled when the rounds had been scored, so the bounds
of single gates were not promised beforehand; docs/calibration.md says so, and shows the table to people.
"""

from __future__ import annotations

from dataclasses import dataclass

PPM = 1_000_000
CHAIN_PPM = 2_000  # 0.2 % of clean films, all gates together


@dataclass(frozen=True, slots=True)
class Share:
    """What one gate may do wrong."""

    gate: str
    loss_ppm: int  # clean films that it may not call good, in a million
    miss: float | None  # share of faults that it may call good; None: it promises none, and has one threshold
    why: str

    @property
    def loss(self) -> float:
        """The share of clean films that may be lost, in [0, 1]."""
        return self.loss_ppm / PPM

    @property
    def wrong(self) -> float:
        """The share of clean films that may be called faulty outright: half of what may be lost.

        Such a film is not only held, it may be corrected or withheld before a person sees it.
        """
        return self.loss / 2

    @property
    def one_threshold(self) -> bool:
        """Whether what it finds is what falls out of its share of clean films."""
        return self.miss is None


BUDGET: tuple[Share, ...] = (
    Share("exposure", 30, 0.02, "computed, seven kinds of fault; thick and pale patients lie near to it"),
    Share("anatomy", 1200, 0.005, "the hardest question, and what it misses no later gate can find"),
    Share("inversion", 80, 0.0005, "told well; white collimator borders and implants are what it trips on"),
    Share("rotation", 600, 0.0005, "told well; slouching patients and children lie between the turns"),
    Share("mirror", 60, None, "only suspects; hearts on the right are set aside: to suspect those is right"),
    Share("lungs", 20, None, "holds where no lung is found at all; lungs cut off are flagged, not held"),
)
RESERVE_PPM = 10  # headers, decoding, and what the gates do together that none does alone

# What passes every gate; its score is 1 or 0, so that its threshold is no choice.
CHAIN = Share("chain", CHAIN_PPM, None, "all gates and the policy together")
# A gate for another region looks at the films of a chain of its own and takes nothing from this one.
REGION = Share("region", 500, 0.005, "as the anatomy gate, of the films of its own region")

assert sum(share.loss_ppm for share in BUDGET) + RESERVE_PPM == CHAIN_PPM


def share_of(gate: str) -> Share:
    """What the gate may do wrong; gates that are not in the table are gates of other regions."""
    return next((share for share in (*BUDGET, CHAIN) if share.gate == gate), REGION)


def table() -> str:
    """The budget as Markdown, as docs/calibration.md shows it."""
    head = "| gate | may lose of clean films | may call good of faults | why |\n|---|---|---|---|\n"
    rows = "".join(
        f"| {share.gate} | {percent(share.loss)} "
        f"| {'no promise' if share.miss is None else percent(share.miss)} | {share.why} |\n"
        for share in BUDGET
    )
    reserve = "headers, decoding, and what the gates do together that none does alone"
    return (
        f"{head}{rows}| reserve | {percent(RESERVE_PPM / PPM)} | | {reserve} |\n"
        f"| **the chain** | **{percent(CHAIN_PPM / PPM)}** | | |\n"
    )


def percent(share: float) -> str:
    """A share as people read it: 0.0003 -> "0.03 %"."""
    return f"{100 * share:.4f}".rstrip("0").rstrip(".") + " %"
