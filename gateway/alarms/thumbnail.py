"""A picture for a mail: so small that letters burned into a film cannot be read, and without its header.

Letters on films are a thirtieth of their height, or less; at HIGH_PX that is three pixels.
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image, UnidentifiedImageError

from gateway.ledger import Ledger
from gateway.ledger.watching.records import Alarm, AlarmKind
from gateway.store.thumbs import Thumbs

HIGH_PX = 96


def picture_of(alarm: Alarm, ledger: Ledger, thumbs: Thumbs) -> bytes | None:
    """A JPEG of a film that the alarm is about; None where no thumbnail of one is kept."""
    match alarm.kind:
        case AlarmKind.RATE:
            digest = ledger.held_digest(alarm.subject)
        case AlarmKind.WAITING:
            digest = ledger.held_digest(None)
        case _:
            return None
    kept = thumbs.get(digest) if digest else None
    return small(kept) if kept else None


def small(jpeg: bytes) -> bytes | None:
    """At most HIGH_PX high and wide, with pixels alone; None where it is no picture."""
    try:
        with Image.open(BytesIO(jpeg)) as image:
            grey = image.convert("L")
    except (UnidentifiedImageError, OSError):
        return None
    grey.thumbnail((HIGH_PX, HIGH_PX), Image.Resampling.BOX)
    out = BytesIO()
    Image.frombytes("L", grey.size, grey.tobytes()).save(out, "JPEG", quality=80)
    return out.getvalue()
