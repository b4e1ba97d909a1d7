"""How each destination stands, from what the ledger knows: in words, and what each trouble means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.errors import Trouble
from gateway.ledger import Ledger
from gateway.ledger.records import DeliveryState, Undone
from gateway.ledger.steering.records import Paused
from gateway.settings import Settings

# What happened, and what to do; docs/deliveries.md has all of it.
EXPLAINED: dict[str, tuple[str, str]] = {
    Trouble.UNREACHABLE: ("it cannot be reached", "Test it here: the test says how far one gets."),
    Trouble.ASSOCIATION_REJECTED: (
        "it rejects our association",
        "Have our AE title and this machine's address entered there.",
    ),
    Trouble.BUSY: ("it has no association or room free now", "Nothing needs to be done if it passes."),
    Trouble.INTERRUPTED: (
        "the connection broke while an object was on its way",
        "Look at the network, and at the receiver's log for that time.",
    ),
    Trouble.TIMED_OUT: ("it stood still while an object was on its way", "Look at the receiver: it hangs."),
    Trouble.OUT_OF_RESOURCES: (
        "it says that it is out of resources",
        "Make room there; some archives say so of objects that they never take.",
    ),
    Trouble.DECLINED: (
        "it refuses with an answer that a receiver set up wrongly gives to everything",
        "Look at how it is set up, then send all of these again.",
    ),
    Trouble.NOT_ACCEPTED: (
        "it takes no objects of this kind, in any transfer syntax",
        "Have the SOP class allowed there, then send all of these again.",
    ),
    Trouble.CANNOT_TRANSCODE: (
        "it wants another transfer syntax, and the pixels cannot be decoded for that",
        "A person must look at the film.",
    ),
    Trouble.REFUSED: ("it refuses the object itself", "A person must look at what it says of each."),
    Trouble.DUPLICATE: (
        "it has an object of this UID, perhaps another version of it",
        "Look which version it has.",
    ),
    Trouble.NOT_IN_STORE: (
        "its file is gone from the store, or is damaged",
        "Run `filmgate fsck --deep`, and have it sent again.",
    ),
    Trouble.OURS: ("this machine could not read or prepare it", "Look at room and memory of this machine."),
}
_UNTRIED = ("not tried yet", "")


@dataclass(frozen=True, slots=True)
class Standing:
    """One destination. `groups` are what has not arrived, by state and trouble."""

    name: str
    kind: str
    where: str
    to_ai: bool  # it stands in routes.pass
    today: int
    owed: int
    failed: int
    last_taken: datetime | None
    paused: Paused | None
    groups: tuple[Undone, ...]
    error: str = ""  # what the last failure that is tried again says
    in_settings: bool = True

    @property
    def retrying(self) -> Undone | None:
        """What is tried again and again, the oldest of it."""
        tried = (group for group in self.groups if group.state is DeliveryState.RETRY)
        return min(tried, key=lambda group: group.since, default=None)

    @property
    def failing(self) -> bool:
        """Whether something is tried again, and nothing was taken since it was owed."""
        group = self.retrying
        return group is not None and (self.last_taken is None or self.last_taken < group.since)

    @property
    def state(self) -> str:
        """One word: paused, gone, failing, waiting, failed or well."""
        if self.paused:
            return "paused"
        if not self.in_settings:
            return "gone"
        if self.failing:
            return "failing"
        return "failed" if self.failed else "trying" if self.retrying else "well"

    @property
    def text(self) -> str:
        """The same in words."""
        waits = f"{self.owed} waiting" if self.owed else "nothing waiting"
        match self.state:
            case "paused":
                assert self.paused is not None
                return f"paused by {self.paused.said_by}; {waits}"
            case "gone":
                return f"no longer in the settings; {waits}"
            case "failing":
                assert self.retrying is not None
                return f"takes nothing: {explained(self.retrying.trouble)[0]}; {waits}"
            case "failed":
                return f"{self.failed} failed for good and wait for a person; {waits}"
            case "trying":
                return f"takes films, but some are tried again; {waits}"
        return f"takes what it is sent; {waits}"


def explained(trouble: str) -> tuple[str, str]:
    """What happened, and what to do."""
    return EXPLAINED.get(trouble, _UNTRIED)


def standings(ledger: Ledger, settings: Settings, midnight: datetime) -> list[Standing]:
    """Every destination of the settings, and those that are gone and are owed something."""
    groups = ledger.undone()
    names = list(dict.fromkeys([*settings.destinations, *(group.destination for group in groups)]))
    today = ledger.delivered_since(names, midnight)
    paused = {one.destination: one for one in ledger.paused()}
    return [
        _standing(
            ledger, settings, name, tuple(g for g in groups if g.destination == name), today[name], paused
        )
        for name in names
    ]


def _standing(
    ledger: Ledger,
    settings: Settings,
    name: str,
    groups: tuple[Undone, ...],
    today: int,
    paused: dict[str, Paused],
) -> Standing:
    block = settings.destinations.get(name)
    failed = sum(group.count for group in groups if group.state is DeliveryState.FAILED)
    tried = any(group.state is DeliveryState.RETRY for group in groups)
    last = ledger.undelivered([DeliveryState.RETRY], name, limit=1) if tried else []
    return Standing(
        name=name,
        kind=block.kind if block else "",
        where=where(settings, name),
        to_ai=name in settings.routes.pass_,
        today=today,
        owed=sum(group.count for group in groups) - failed,
        failed=failed,
        last_taken=ledger.last_taken(name),
        paused=paused.get(name),
        groups=groups,
        error=last[0].error if last else "",
        in_settings=block is not None,
    )


def where(settings: Settings, name: str) -> str:
    """Where it is, without what may be secret: a web address can hold a token behind its `?`."""
    block = settings.destinations.get(name)
    if block is None:
        return ""
    match block.kind:
        case "dicom":
            return f"{block.ae_title}@{block.host}:{block.port}"
        case "folder":
            return str(block.path)
        case "webhook":
            return block.url.partition("?")[0].rpartition("@")[2]
    return "reads here"
