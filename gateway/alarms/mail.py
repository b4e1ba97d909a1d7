"""Word of an alarm by mail: plain text, a link, and nothing of a patient."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from gateway.errors import DeliveryError, SettingsError, Unreachable
from gateway.ledger.watching.records import Alarm, Notice
from gateway.process import clock
from gateway.settings import Settings
from gateway.settings.alarms import MailSettings

_NEWS = {"on": "alarm", "over": "over", "test": "test"}
_LONGEST_SUBJECT = 120


class Mail:
    """Sends notices by SMTP, a connection each: there are few."""

    def __init__(self, settings: Settings, picture: Callable[[Alarm], bytes | None] = lambda _: None) -> None:
        """
        Args:
            picture: a small JPEG of a film that an alarm is about.

        Raises:
            SettingsError: the file of certificates cannot be used.
        """
        self._mail = settings.alarms.mail
        self._console = settings.console_url
        self._picture = picture if self._mail.thumbnail else None
        self._zone = clock.zone(settings.gateway.time_zone)
        self._tls = None if self._mail.tls == "none" else _trusted(self._mail)

    def send(self, notice: Notice) -> None:
        """
        Raises:
            DeliveryError: it was not taken.
        """
        try:
            with self._connected() as server:
                refused = server.send_message(self.message(notice))
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(f"the mail server answers {error.smtp_code}") from error
        except smtplib.SMTPRecipientsRefused as error:
            raise DeliveryError("the mail server takes none of the addresses in alarms.mail.to") from error
        except (smtplib.SMTPException, ssl.SSLError) as error:
            raise DeliveryError(f"the mail server cannot be used: {type(error).__name__}") from error
        except OSError as error:
            raise Unreachable(f"no connection to the mail server: {error.strerror or 'no answer'}") from error
        if refused:
            raise DeliveryError(f"the mail server does not take {len(refused)} of the addresses")

    def message(self, notice: Notice) -> EmailMessage:
        """The mail as it is sent; the same notice has the same Message-ID whenever it is sent."""
        alarm, mail = notice.alarm, self._mail
        message = EmailMessage()
        subject = f"filmgate {_NEWS[notice.news]}: {alarm.words}"
        message["Subject"] = subject if len(subject) <= _LONGEST_SUBJECT else subject[:_LONGEST_SUBJECT] + "…"
        message["From"], message["To"] = mail.from_, ", ".join(mail.to)
        message["Date"] = format_datetime(datetime.now(UTC))
        domain = mail.from_.rpartition("@")[2]
        message["Message-ID"] = f"<alarm-{alarm.id}-{notice.news}-{alarm.since:%Y%m%dT%H%M%S}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence answers it
        message.set_content("\n".join(self._lines(notice)))
        if notice.news == "on" and self._picture and (jpeg := self._picture(alarm)):
            message.add_attachment(jpeg, "image", "jpeg", filename="film.jpg")
        return message

    def _lines(self, notice: Notice) -> list[str]:
        alarm = notice.alarm
        lines = [alarm.words, "", f"Since: {self._at(alarm.since)}"]
        if notice.news == "over" and alarm.over_at:
            lines += [f"Over:  {self._at(alarm.over_at)}"]
        if notice.news == "test":
            lines += ["This is a test; nothing is wrong."]
        lines += [f"Look:  {self._console}{alarm.link}", ""]
        if notice.news == "on":
            lines += ["You are told once more when it is over, and not in between."]
        return lines

    def _at(self, at: datetime) -> str:
        return f"{at.astimezone(self._zone):%Y-%m-%d %H:%M %Z}"

    def _connected(self) -> smtplib.SMTP:
        mail = self._mail
        if mail.tls == "tls" and self._tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                mail.server, mail.port, timeout=mail.timeout_s, context=self._tls
            )
        else:
            server = smtplib.SMTP(mail.server, mail.port, timeout=mail.timeout_s)
        try:
            if mail.tls == "starttls":
                server.starttls(context=self._tls)
            if mail.user:
                server.login(mail.user, mail.password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server


def _trusted(mail: MailSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=mail.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"alarms.mail.ca_file: {mail.ca_file} cannot be used") from error
