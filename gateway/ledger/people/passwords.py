"""Passwords: what is asked of them, and their hashes (argon2id, RFC 9106).

The costs are OWASP's for argon2id (19 MiB) with one more pass. One is reckoned at a time, so that the console
stays small whoever knocks.
"""

from __future__ import annotations

import secrets
import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.errors import FilmgateError

SHORTEST, LONGEST = 12, 256  # characters
_MOST_WAITING = 4
_PATIENCE_S = 5.0

_hasher = PasswordHasher(time_cost=3, memory_cost=19 << 10, parallelism=1)
_one = threading.Lock()
_waiting = threading.BoundedSemaphore(_MOST_WAITING)


class WeakPassword(FilmgateError):
    """Raised when a password is too easily guessed."""


class TooManyAtOnce(FilmgateError):
    """Raised when so many sign in at this moment that one more would wait too long."""


def need_strong(password: str, name: str) -> None:
    """
    Raises:
        WeakPassword: it is too short, too long, or too simple.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise WeakPassword(
            f"a password has {SHORTEST} to {LONGEST} characters, this one {len(password)}. Nothing was "
            "changed. A few words in a row are easy to keep in mind and hard to guess."
        )
    bare = password.casefold().replace(name.casefold(), "")
    if len(set(bare)) < 5 or len(bare) < SHORTEST // 2:
        raise WeakPassword(
            "this password is too easily guessed: it is little more than the name, or a few letters again "
            "and again. Nothing was changed."
        )


def made_up() -> str:
    """A random password that can be read out: 99 bits in four groups, without letters that look alike."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(4))


def hashed(password: str) -> str:
    """The hash to keep, with salt and costs in it."""
    with _one:
        return _hasher.hash(password)


def fits(password: str, password_hash: str | None) -> bool:
    """Whether it is the password of this hash. Without one it takes as long, and is not.

    Raises:
        TooManyAtOnce: too many are reckoned already.
    """
    if not _waiting.acquire(blocking=False):
        raise TooManyAtOnce("too many people sign in at this moment. Try again in a few seconds.")
    try:
        if not _one.acquire(timeout=_PATIENCE_S):
            raise TooManyAtOnce("too many people sign in at this moment. Try again in a few seconds.")
        try:
            return _verified(password_hash or _nobodys(), password) and password_hash is not None
        finally:
            _one.release()
    finally:
        _waiting.release()


def _verified(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return _hasher.hash(secrets.token_hex(16))


def warm_up() -> None:
    """Reckon nobody's hash now: else the first unknown name would be told from others by its time."""
    _nobodys()
