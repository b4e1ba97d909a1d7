"""The blocks below `destinations`: where films, copies and results may go, and what each place takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from gateway.settings.blocks import AeTitle, Block, Host, Port, Seconds, host_name, is_loopback
from models.classifiers.accepts import modality, view


def _region(word: str) -> str:
    return "chest" if word.strip().lower() == "chest" else word


View = Annotated[str, AfterValidator(view)]
Modality = Annotated[str, AfterValidator(modality)]
Region = Annotated[str, AfterValidator(_region)]


class Accepts(Block):
    """Which qualified films a destination takes. The case of its words is no matter; unknown ones are."""

    views: tuple[View, ...] = ("PA", "AP", "frontal")
    min_age: float = Field(10, ge=0)
    max_age: float = Field(200, ge=0)
    unknown_age: bool = False
    modalities: tuple[Modality, ...] = ("CR", "DX", "DR", "RG")
    max_study_age_days: int | None = Field(None, ge=0, le=100_000)
    regions: tuple[Region, ...] = ("chest",)


class RetrySettings(Block):
    """How failed deliveries are tried again: growing and jittered."""

    first_s: Seconds = Field(2.0)
    longest_s: float = Field(900.0, gt=0)
    give_up_h: float = Field(
        168.0,
        gt=0,
        le=100_000,
        description="an object is parked as failed after as many tries of its own as fill so many hours",
    )


class DicomDestination(Block):
    """A storage SCP."""

    kind: Literal["dicom"] = "dicom"
    ae_title: AeTitle
    host: Host = "127.0.0.1"
    port: Port
    calling_ae_title: AeTitle | None = None
    associations: int = Field(1, ge=1, le=16)
    timeout_s: Seconds = Field(30.0)
    retry: RetrySettings = RetrySettings()
    accepts: Accepts = Accepts()


class FolderDestination(Block):
    """A folder that gets Part 10 files."""

    kind: Literal["folder"] = "folder"
    path: Path
    retry: RetrySettings = RetrySettings()
    accepts: Accepts = Accepts()


def _system(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", value):
        more = f": say urn:oid:{value}" if re.fullmatch(r"\d+(\.\d+)+", value) else ""
        raise ValueError(
            "must be a URI, as urn:oid:1.2.276.0.76.4 or https://hospital.example/patient" + more
        )
    return value


System = Annotated[str, AfterValidator(_system)]


class FhirSettings(Block):
    """Who assigns the numbers by which results in FHIR name patient and order; empty: they are not named."""

    patient_system: System = Field("", description="of Patient ID; with it results name the patient")
    accession_system: System = Field("", description="of Accession Number; with it results name the order")


class WebhookDestination(Block):
    """A web address that gets results as JSON or FHIR, and no films."""

    kind: Literal["webhook"] = "webhook"
    insecure: bool = Field(False, description="plain http also to other machines: anybody between reads it")
    url: str
    token: SecretStr = SecretStr("")
    header: str = Field("Authorization: Bearer", pattern=r"^[A-Za-z0-9-]+(: ?[A-Za-z0-9-]*)?$")
    timeout_s: Seconds = Field(30.0, description="from connecting to the end of the answer")
    ca_file: Path | None = Field(None, description="certificates to trust (PEM) instead of the system's")
    fhir: FhirSettings = FhirSettings()
    retry: RetrySettings = RetrySettings()

    @field_validator("url")
    @classmethod
    def _is_a_safe_address(cls, url: str, info: ValidationInfo) -> str:
        parts = _split(url)
        if parts.scheme == "http" and not (is_loopback(str(parts.hostname)) or info.data.get("insecure")):
            raise ValueError("http can be read on the way: use https (or say `insecure: true`)")
        return url

    @field_validator("token")
    @classmethod
    def _fits_in_a_header(cls, token: SecretStr) -> SecretStr:
        if not all("!" <= letter <= "~" for letter in token.get_secret_value()):
            raise ValueError("must be ASCII without spaces and line ends")  # never says what it is
        return token

    @field_serializer("token")
    def _whole(self, token: SecretStr) -> str:
        """As our other processes need it; `masking.values` masks it for people."""
        return token.get_secret_value()


def _split(url: str) -> SplitResult:
    """The parts of a web address.

    Raises:
        ValueError: this is no address to send results to; the text does not quote it.
    """
    try:
        parts = urlsplit(url if url.isascii() and url.isprintable() and " " not in url else "")
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        host_name(parts.hostname or "")
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError("must be https://HOST/PATH, in ASCII")
    if parts.username is not None or parts.fragment:
        raise ValueError("must hold no user, password or fragment; a secret goes into token")
    return parts


class Results(Block):
    """Where the results of a classifier go: names of destinations, each list empty unless said."""

    sr: tuple[str, ...] = ()
    heatmap: tuple[str, ...] = ()
    gsps: tuple[str, ...] = ()
    json_: tuple[str, ...] = Field((), alias="json")
    fhir: tuple[str, ...] = ()
    not_analysed: tuple[str, ...] = ()


class ClassifierDestination(Block):
    """A classifier of our own: workers read with it what routes.pass gives to it."""

    kind: Literal["classifier"] = "classifier"
    bundle: str = Field("", description="a bundle's name or a path; empty: the destination's own name")
    on: bool = Field(False, description="switches on a classifier whose card says that it is off")
    accepts: Accepts | None = Field(None, description="empty: what the card says")
    results: Results = Results()

    @field_serializer("accepts")
    def _as_said(self, accepts: Accepts | None) -> dict[str, Any] | None:
        """What was said and no more: the rest is the card's in our other processes, too."""
        return accepts.model_dump(mode="json", exclude_unset=True) if accepts else None


def _kind(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get("kind", "dicom")
    return getattr(value, "kind", None)


Destination = Annotated[
    Annotated[DicomDestination, Tag("dicom")]
    | Annotated[FolderDestination, Tag("folder")]
    | Annotated[WebhookDestination, Tag("webhook")]
    | Annotated[ClassifierDestination, Tag("classifier")],
    Discriminator(_kind),
]

KINDS = ("dicom", "folder", "webhook", "classifier")
CARRIES: dict[str, tuple[str, ...]] = {  # kind of result -> kinds of destinations that can take it
    "sr": ("dicom", "folder"),
    "heatmap": ("dicom", "folder"),
    "gsps": ("dicom", "folder"),
    "json": ("webhook",),
    "fhir": ("webhook",),
    "not_analysed": ("dicom", "folder"),
    "rejection": ("dicom", "folder"),
}
