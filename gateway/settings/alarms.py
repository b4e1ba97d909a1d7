"""The block `alarms`: when people are told, and how."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_serializer, model_validator
from pydantic_core import PydanticCustomError

from gateway.settings.blocks import Block, Host, Port, Seconds, is_loopback
from gateway.settings.destinations import WebhookDestination


def _address(value: str) -> str:
    """The value itself. Raises ValueError when it is no plain address."""
    if value and not re.fullmatch(r"[!#-'*+\--9=?A-Z^-~.]+@[A-Za-z0-9.-]+", value):
        raise ValueError("must be a mail address, as it@hospital.example")
    return value


Address = Annotated[str, AfterValidator(_address)]


class AlarmWebhook(Block):
    """A web address that gets each alarm, and its end, as JSON; empty: none."""

    insecure: bool = Field(False, description="plain http also to other machines: anybody between reads it")
    url: str = ""
    token: SecretStr = SecretStr("")
    header: str = "Authorization: Bearer"
    timeout_s: Seconds = Field(10.0)
    ca_file: Path | None = Field(None, description="certificates to trust (PEM) instead of the system's")

    @model_validator(mode="after")
    def _is_a_webhook(self) -> AlarmWebhook:
        if self.url:
            WebhookDestination(**{name: getattr(self, name) for name in type(self).model_fields})
        return self

    @field_serializer("token")
    def _whole(self, token: SecretStr) -> str:
        """As our other processes need it; `masking.values` masks it for people."""
        return token.get_secret_value()


class MailSettings(Block):
    """A mail server, and who is told; empty: no mail."""

    server: Host = ""
    port: Port = 25
    tls: Literal["starttls", "tls", "none"] = "starttls"
    from_: Address = Field("", alias="from")
    to: tuple[Address, ...] = ()
    user: str = ""
    password: SecretStr = SecretStr("")
    thumbnail: bool = Field(True, description="with a picture of a film, too small to read letters in it")
    timeout_s: Seconds = Field(20.0)
    ca_file: Path | None = Field(None, description="certificates to trust (PEM) instead of the system's")

    @model_validator(mode="after")
    def _can_be_sent(self) -> MailSettings:
        if not self.server:
            return self
        if not self.from_ or not self.to:
            raise PydanticCustomError("mail", "a mail server needs `from` and `to`")
        if self.tls == "none" and self.user and not is_loopback(self.server):
            raise PydanticCustomError("mail", "a password is not sent without TLS: say tls: starttls, or tls")
        return self

    @field_serializer("password")
    def _whole(self, password: SecretStr) -> str:
        """As our other processes need it; `masking.values` masks it for people."""
        return password.get_secret_value()


class AlarmSettings(Block):
    """What people are told without asking, each thing once until it is over."""

    films_per_false_alarm: int = Field(
        9000, ge=100, le=10_000_000, description="films of one sender to a false alarm of its rates, at least"
    )
    refuses_min: float = Field(
        10.0, ge=0, le=100_000, description="minutes for which a destination takes nothing of what it is sent"
    )
    certificate_days: int = Field(21, ge=0, le=3650, description="before a certificate ends")
    webhook: AlarmWebhook = AlarmWebhook()
    mail: MailSettings = MailSettings()
