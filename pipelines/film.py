"""The frozen values that pass between the steps: Header, Film, Finding, Decision."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from math import ceil, floor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line lists films without numpy, a tenth of a second sooner
    import numpy as np
    from numpy.typing import NDArray


class Verdict(StrEnum):
    """What a gate says of a film."""

    GOOD = "good"
    BAD = "bad"
    UNSURE = "unsure"
    FAILED = "failed"  # the gate itself raised; a finding of its own, and it quarantines


class Act(StrEnum):
    """What is done with a film; `films list --json` shows these words, and people read `text`."""

    PASS = "pass"  # noqa: S105
    CORRECT = "correct"
    WITHHOLD = "withhold"
    QUARANTINE = "quarantine"

    @property
    def text(self) -> str:
        """The word for people: in a list of films "correct" would read as *right*."""
        return "to correct" if self is Act.CORRECT else self.value


class Reason(StrEnum):
    """Why a film did not simply pass. Every code is explained in REASON_TEXT and docs/reasons.md."""

    # header
    NOT_A_FILM = "NOT_A_FILM"
    FOR_PROCESSING = "FOR_PROCESSING"
    DERIVED = "DERIVED"
    SECONDARY = "SECONDARY"
    COMPANION = "COMPANION"
    OURS = "OURS"
    MULTI_FRAME = "MULTI_FRAME"
    HEADER_WORD = "HEADER_WORD"
    RULED_OUT = "RULED_OUT"
    # decoding
    UNREADABLE = "UNREADABLE"
    UNSUPPORTED = "UNSUPPORTED"
    NO_PIXELS = "NO_PIXELS"
    PIXELS_MISMATCH = "PIXELS_MISMATCH"
    DECODE_FAILED = "DECODE_FAILED"
    PIXELS_DAMAGED = "PIXELS_DAMAGED"
    # exposure
    BLANK = "BLANK"
    WASHED_OUT = "WASHED_OUT"
    CLIPPED = "CLIPPED"
    BORDER = "BORDER"
    OVEREXPOSED = "OVEREXPOSED"
    UNDEREXPOSED = "UNDEREXPOSED"
    SEVERAL_FILMS = "SEVERAL_FILMS"
    # anatomy
    LATERAL = "LATERAL"
    OTHER_PART = "OTHER_PART"
    NOT_A_RADIOGRAPH = "NOT_A_RADIOGRAPH"
    UNKNOWN_ANATOMY = "UNKNOWN_ANATOMY"
    HEADER_CONTRADICTS = "HEADER_CONTRADICTS"
    AGE_CONTRADICTS = "AGE_CONTRADICTS"
    NOT_THIS_REGION = "NOT_THIS_REGION"
    REGION_UNSURE = "REGION_UNSURE"
    # orientation and polarity
    ROTATED_90 = "ROTATED_90"
    ROTATED_180 = "ROTATED_180"
    ROTATED_270 = "ROTATED_270"
    ROTATION_UNSURE = "ROTATION_UNSURE"
    INVERTED = "INVERTED"
    INVERSION_UNSURE = "INVERSION_UNSURE"
    POLARITY_AMBIGUOUS = "POLARITY_AMBIGUOUS"
    MIRROR_SUSPECTED = "MIRROR_SUSPECTED"
    # lungs
    LUNGS_NOT_FOUND = "LUNGS_NOT_FOUND"
    LUNGS_CUT_OFF = "LUNGS_CUT_OFF"
    LUNG_BY_SYMMETRY = "LUNG_BY_SYMMETRY"
    # the chain
    GATE_FAILED = "GATE_FAILED"
    MODEL_MISSING = "MODEL_MISSING"
    COPY_FAILED = "COPY_FAILED"
    NO_AI_ACCEPTS = "NO_AI_ACCEPTS"
    OTHER_PIXELS = "OTHER_PIXELS"
    REJECTED = "REJECTED"
    ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"


REASON_TEXT: dict[Reason, str] = {
    Reason.NOT_A_FILM: "not a projection radiograph (its SOP class or modality says so)",
    Reason.FOR_PROCESSING: "a raw detector image, FOR PROCESSING, not meant to be looked at",
    Reason.DERIVED: "a derived image, not the original exposure",
    Reason.SECONDARY: "a secondary image, not a primary exposure",
    Reason.COMPANION: "a companion image that accompanies another film",
    Reason.OURS: "made by filmgate itself; never gated again",
    Reason.MULTI_FRAME: "holds several frames; one film is expected",
    Reason.HEADER_WORD: "a word in the header says computed or special picture; a person rules on it",
    Reason.RULED_OUT: "a person said that films of this sender with this word of the header are never for AI",
    Reason.UNREADABLE: "the file cannot be parsed as DICOM",
    Reason.UNSUPPORTED: "the transfer syntax or photometric interpretation is not supported",
    Reason.NO_PIXELS: "there is no pixel data",
    Reason.PIXELS_MISMATCH: "Rows, Columns or bit depth do not agree with the pixel data",
    Reason.DECODE_FAILED: "decoding crashed, hung or used too much memory",
    Reason.PIXELS_DAMAGED: "pixel data are cut off, overwritten or out of place",
    Reason.BLANK: "the picture is blank: no anatomy to be seen",
    Reason.WASHED_OUT: "the contrast is squeezed into a small part of the grey range",
    Reason.CLIPPED: "much of the picture is cut off at black or white",
    Reason.BORDER: "a small film inside a large border",
    Reason.OVEREXPOSED: "far too dark, as displayed: the exposure or its window is too high",
    Reason.UNDEREXPOSED: "far too bright, as displayed: the exposure or its window is too low",
    Reason.SEVERAL_FILMS: "several films in one picture",
    Reason.LATERAL: "a lateral chest film",
    Reason.OTHER_PART: "another body part, not a chest",
    Reason.NOT_A_RADIOGRAPH: "not a radiograph",
    Reason.UNKNOWN_ANATOMY: "nothing the anatomy gate knows well enough",
    Reason.HEADER_CONTRADICTS: "the header claims something else than the picture shows",
    Reason.AGE_CONTRADICTS: "the picture shows a child's chest where the header says adult",
    Reason.NOT_THIS_REGION: "does not show the body region this gate was made for",
    Reason.REGION_UNSURE: "perhaps shows the body region this gate was made for",
    Reason.ROTATED_90: "turned 90 degrees clockwise",
    Reason.ROTATED_180: "upside down (turned 180 degrees)",
    Reason.ROTATED_270: "turned 270 degrees clockwise",
    Reason.ROTATION_UNSURE: "the rotation gate is not sure",
    Reason.INVERTED: "inverted: black and white are exchanged",
    Reason.INVERSION_UNSURE: "the inversion gate is not sure",
    Reason.POLARITY_AMBIGUOUS: "the header says twice, and differently, which end of the values is black",
    Reason.MIRROR_SUSPECTED: "perhaps left-right flipped",
    Reason.LUNGS_NOT_FOUND: "no lung field was found",
    Reason.LUNGS_CUT_OFF: "the lung field touches the edge of the film",
    Reason.LUNG_BY_SYMMETRY: "one lung could not be seen; its place was taken from the other",
    Reason.GATE_FAILED: "a gate failed with an error",
    Reason.MODEL_MISSING: "a gate's model is missing or is not the one its card names",
    Reason.COPY_FAILED: "the corrected copy could not be made, or did not pass the gates itself",
    Reason.NO_AI_ACCEPTS: "no AI destination accepts this film (region, view, age, modality or study age)",
    Reason.OTHER_PIXELS: "the same SOP Instance UID arrived before with other pixels",
    Reason.REJECTED: "a room or the archive rejected it, in a Key Object",
    Reason.ATTEMPTS_EXHAUSTED: "every attempt to examine this film failed",
}


class Claim(StrEnum):
    """How the header stands to 'this is a frontal chest film'."""

    AGREES = "agrees"
    SILENT = "silent"
    CONTRADICTS = "contradicts"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose film it is and which device made it: what people search by. No gate and no rule sees it."""

    study_uid: str = ""
    series_uid: str = ""
    accession: str = ""
    patient_id: str = ""
    device: str = ""  # Station Name, else manufacturer and model


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of one instance says, already cleaned; strings are stripped and upper case where coded.

    Absent attributes are "" or None or (). `part` is one of "chest", "other", "" (silent);
    `view` one of "frontal", "lateral", "other", "" (silent): the *claims* of the header, from
    BodyPartExamined, ViewPosition, AnatomicRegionSequence, ViewCodeSequence and friends.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    modality: str = ""
    image_type: tuple[str, ...] = ()
    presentation_intent: str = ""
    photometric: str = ""
    presentation_shape: str = ""  # PresentationLUTShape: what says the polarity a second time
    rows: int = 0
    columns: int = 0
    frames: int = 1
    bits_stored: int = 0
    body_part: str = ""  # BodyPartExamined as it stands
    view_position: str = ""  # ViewPosition as it stands: "PA", "AP", "LL", ...
    orientation: tuple[str, ...] = ()  # PatientOrientation as it stands: of the rows, then of the columns
    part: str = ""
    view: str = ""
    age_years: float | None = None  # completed years, below two with a fraction; None: unknown
    age_doubt: str = ""  # what PatientAge or PatientBirthDate say that could not be read or believed
    study_date: str = ""  # YYYYMMDD
    urgent: bool = False
    ours: bool = False  # Contributing Equipment or UID root says that filmgate made it
    words: tuple[str, ...] = ()  # of pipelines.words.special_words: a computed or special picture
    no_pixels: bool = False  # the object holds no pixel data at all
    identity: Identity = field(default_factory=Identity, repr=False)  # in no traceback and no log


@dataclass(frozen=True, slots=True)
class Film:
    """One projection radiograph ready for the gates.

    `pixels` is (H, W) float32 in [0, 1], as displayed (Modality LUT, VOI LUT or window, and
    MONOCHROME1 / Presentation LUT Shape applied exactly once), square pixels, long side at most
    `PREVIEW_PX`. `scale` is native pixels per preview pixel, (rows, columns).
    `stored_range` is the fraction of the stored bit range that the central 98 % of pixels use.
    `damage` is what all stored values show of bytes that are missing or out of place, if anything.
    """

    header: Header
    pixels: NDArray[np.float32]
    scale: tuple[float, float] = (1.0, 1.0)
    stored_range: float = 1.0
    damage: Damage | None = None

    def claiming(self, header: Header) -> Film:
        """This film by the claims of another's header: of a copy, which is judged by its source's. What a
        header says of the grey scale is about these very pixels, so that stays."""
        own = self.header
        claims = replace(header, photometric=own.photometric, presentation_shape=own.presentation_shape)
        return replace(self, header=claims)


PREVIEW_PX = 512


@dataclass(frozen=True, slots=True)
class Box:
    """A box in fractions of the film's width and height, x to the right, y down; 0 <= x0 < x1 <= 1."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    def inside(self, other: Box) -> bool:
        """Whether it is a box at all and lies within the other; false where a side is NaN."""
        across = other.x0 <= self.x0 < self.x1 <= other.x1
        return across and other.y0 <= self.y0 < self.y1 <= other.y1

    def union(self, other: Box) -> Box:
        """The box round both."""
        x0, y0 = min(self.x0, other.x0), min(self.y0, other.y0)
        return Box(x0, y0, max(self.x1, other.x1), max(self.y1, other.y1))

    def iou(self, other: Box) -> float:
        """Intersection over union of the two."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        both = max(width, 0.0) * max(height, 0.0)
        return both / (self.width * self.height + other.width * other.height - both)

    def grown(self, margin: float) -> Box:
        """With a margin on each side, as far as the film goes."""
        x0, y0 = max(self.x0 - margin, 0.0), max(self.y0 - margin, 0.0)
        return Box(x0, y0, min(self.x1 + margin, 1.0), min(self.y1 + margin, 1.0))

    def turned(self, quarters: int) -> Box:
        """Where it lies on the film turned clockwise by so many quarters; below 0, the other way."""
        box = self
        for _ in range(quarters % 4 if quarters > 0 else 0):
            box = Box(1 - box.y1, box.x0, 1 - box.y0, box.x1)
        for _ in range(-quarters % 4 if quarters < 0 else 0):
            box = Box(box.y0, 1 - box.x1, box.y1, 1 - box.x0)
        return box

    def in_whole(self, frame: Box) -> Box:
        """A box in fractions of `frame` -> the same box in fractions of what `frame` was cut from."""
        x0, x1 = frame.x0 + self.x0 * frame.width, frame.x0 + self.x1 * frame.width
        return Box(x0, frame.y0 + self.y0 * frame.height, x1, frame.y0 + self.y1 * frame.height)

    def in_pixels(self, rows: int, columns: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom on a picture of so many pixels."""
        return self.x0 * columns, self.y0 * rows, self.x1 * columns, self.y1 * rows

    def cut(self, rows: int, columns: int) -> tuple[slice, slice]:
        """The rows and columns of a picture that lie in the box, those in part too."""
        left, top, right, bottom = self.in_pixels(rows, columns)
        return slice(floor(top), ceil(bottom)), slice(floor(left), ceil(right))


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Damage:
    """A place in a picture that no exposure leaves as it is, in words and as a box."""

    words: str
    box: Box


@dataclass(frozen=True, slots=True)
class Finding:
    """What one gate found. `score` lies between the two thresholds `low` and `high` when it is unsure.

    GOOD has no reason. `detail` is a short plain text for people ("turned 90 degrees, p 0.998").
    `model_digest` is the sha256 of the weights, "" for a computed gate. `facts` are measured values that
    nothing is held for: ("tilt_deg", 3.1), ("ap", 0.97), ("child", 0.02). `place` is where a network lays the
    film out among others: what lies near it looks like it.
    """

    gate: str
    verdict: Verdict
    score: float = 0.0
    low: float = 0.0
    high: float = 0.0
    reason: Reason | None = None
    detail: str = ""
    box: Box | None = None
    model_digest: str = ""
    facts: tuple[tuple[str, float], ...] = ()
    place: tuple[float, ...] = ()


class Answer(StrEnum):
    """What a person says of the films of one sender whose headers have one word."""

    ALWAYS = "always"  # they are films like any other
    NEVER = "never"  # they are not for AI


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a person said, once for all, of one of the special words in headers of one sender."""

    sender: str  # the calling AE title
    word: str
    answer: Answer
    by: str
    at: datetime
    note: str = ""
    ended_by: str | None = None  # who took it back, or said otherwise
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a film, and the rulings in force for its sender; "" where nobody knows who sent it."""

    ae_title: str = ""
    rulings: tuple[Ruling, ...] = ()

    def ruling(self, word: str) -> Ruling | None:
        return next((ruling for ruling in self.rulings if ruling.word == word), None)


@dataclass(frozen=True, slots=True)
class Operations:
    """The correction to apply to the *stored* film so that it displays right, in this order:
    crop, then turn clockwise by `turn` degrees (0, 90, 180, 270), then `flip` left to right, then invert
    polarity. Only a person flips: hearts lie on the right, too. `relabel` changes no pixel: the header says
    in both its places which polarity the film is shown with, as every copy's does.

    A film found ROTATED_90 (turned 90 clockwise) needs turn=270.
    """

    crop: Box | None = None
    turn: int = 0
    invert: bool = False
    relabel: bool = False
    flip: bool = False

    def __bool__(self) -> bool:
        return self.changes_pixels or self.relabel

    @property
    def changes_pixels(self) -> bool:
        """Whether the film will look different from what it was."""
        return bool(self.crop or self.turn or self.flip or self.invert)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of one film, with the rule that fired and what it saw."""

    act: Act
    reasons: tuple[Reason, ...] = ()
    rule: str = ""
    why: str = ""
    operations: Operations = field(default_factory=Operations)
    destinations: tuple[str, ...] = ()  # AI destinations that accept this film; only for PASS and CORRECT
    flags: tuple[Reason, ...] = ()  # noted, but not held for
    trace: tuple[dict[str, Any], ...] = ()  # one row a rule tried: rule, fired, because
    policy_digest: str = ""
    words: tuple[str, ...] = ()  # of the header, that a person must speak about first; only for QUARANTINE
    rulings: tuple[Ruling, ...] = ()  # that it rests on


# Titles of Key Object Selection documents that reject instances: PS3.16 CID 7010.
REJECTION_TITLES = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}

# Why a person rejects a film. PS3.16 CID 7011, the modifiers of (113001, DCM); and the one title of CID 7010
# that a person may give in its place, which needs no modifier.
PATIENT_SAFETY = "113037"
REJECT_REASONS = {
    "111207": "Image artifact(s)",
    "111208": "Grid artifact(s)",
    "111209": "Positioning",
    "111210": "Motion blur",
    "111211": "Under exposed",
    "111212": "Over exposed",
    "111213": "No image",
    "111214": "Detector artifact(s)",
    "111215": "Artifact(s) other than grid or detector artifact",
    "111216": "Mechanical failure",
    "111217": "Electrical failure",
    "111218": "Software failure",
    "111219": "Inappropriate image processing",
    "111220": "Other failure",
    "111221": "Unknown failure",
    "113026": "Double exposure",
    PATIENT_SAFETY: REJECTION_TITLES[PATIENT_SAFETY],
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """The instances that one document rejects, and the code of its title."""

    code: str
    instances: tuple[str, ...]  # SOP Instance UIDs
