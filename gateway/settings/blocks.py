"""What every block of the settings is made of: its strictness, and the words that several of them take."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# PS3.5 section 6.2, AE: ASCII without backslash and control characters, and not spaces alone
AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^ *[!-\[\]-~][ -\[\]-~]*$")]
Port = Annotated[int, Field(ge=1, le=65535)]

# The longest that every clock call takes: poll(2) counts milliseconds in 31 bits.
Seconds = Annotated[float, Field(gt=0, le=1_000_000)]


class Block(BaseModel):
    """A block of keys: frozen, and strict about keys that it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        # What pydantic says of a value ends up in tracebacks, and the value may be a secret.
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


def host_name(value: str) -> str:
    """The value itself. Raises ValueError when no machine can have such a name or address."""
    try:
        value.encode("idna")
    except UnicodeError:
        raise ValueError("is no name or address of a machine") from None
    return value


Host = Annotated[str, AfterValidator(host_name)]


def is_loopback(host: str) -> bool:
    """Whether this name or address is of the machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
