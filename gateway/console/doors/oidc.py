"""Sign in with a provider of OpenID Connect: code flow (Core 1.0, 3.1) with PKCE, state and nonce.

What is believed of a person is in the ID token alone, and of that nothing before signature, issuer,
audience, times and nonce were checked. Authlib speaks the protocol; it is loaded where a provider is
configured.
"""

from __future__ import annotations

import hmac
import json
import secrets
import ssl
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.errors import FilmgateError, SettingsError
from gateway.ledger.people.peopling import LONGEST_NAME
from gateway.settings import OidcSettings
from gateway.settings.blocks import is_loopback
from gateway.settings.lined_yaml import text_of

# What anybody can make who has the public key (HS256) or no key at all (none) is no signature.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
TIMEOUT_S = 10.0
LEEWAY_S = 60  # between the clocks of two machines
FRESH_S = 600.0  # metadata and keys are asked for anew after so long, ...
AGAIN_S = 10.0  # ... and for a key that is not known at most so often
MOST_BYTES = 1 << 20
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0, 2


class NotSignedIn(FilmgateError):
    """Raised when the provider did not vouch for somebody, or what it says cannot be believed."""


class ProviderSilent(FilmgateError):
    """Raised when the provider cannot be asked."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the browser keeps while it is at the provider, and brings back with the answer."""

    state: str
    nonce: str
    verifier: str
    next: str

    @classmethod
    def begin(cls, next_: str) -> Attempt:
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), next_)

    def cookie(self) -> str:
        return urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def of_cookie(cls, value: str) -> Attempt | None:
        try:
            return cls(**{key: str(one) for key, one in json.loads(urlsafe_b64decode(value)).items()})
        except (ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Claims:
    """Who somebody is, and what the provider says of them."""

    subject: str  # with the issuer: nobody else's, ever
    name: str
    groups: tuple[str, ...]


class Provider:
    """One provider. Its metadata and keys are asked for when they are needed, and kept for a while.

    Args:
        settings: `console.oidc`.
    """

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._asked_at = 0.0  # monotonic

    def leave(self, attempt: Attempt, redirect_uri: str) -> str:
        """The address at the provider to which the browser is sent.

        Raises:
            ProviderSilent: it cannot be asked.
        """
        with self._client(redirect_uri) as client:
            address, _ = client.create_authorization_url(
                self._known()["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(address)

    def come_back(self, attempt: Attempt, query: Mapping[str, str], redirect_uri: str) -> Claims:
        """Who came back from the provider.

        Raises:
            NotSignedIn: the answer is not to this attempt, or cannot be believed.
            ProviderSilent: the provider cannot be asked.
        """
        if not hmac.compare_digest(query.get("state", "").encode(), attempt.state.encode()):
            raise NotSignedIn("this answer of the provider is to another question than this browser's.")
        metadata = self._known()
        issuer = query.get("iss")  # RFC 9207, against mixing up two providers
        if issuer is None and metadata.get("authorization_response_iss_parameter_supported"):
            raise NotSignedIn("the answer does not say which provider it is of.")
        if issuer is not None and issuer.rstrip("/") != self._settings.issuer:
            raise NotSignedIn("the answer is another provider's.")
        if "error" in query or not query.get("code"):
            raise NotSignedIn("the provider did not let you in, or you turned back there.")
        token = self._token(query["code"], attempt, redirect_uri, metadata)
        return self.believed(token, attempt.nonce)

    def believed(self, token: Mapping[str, Any], nonce: str) -> Claims:
        """What the ID token of an answer says, checked.

        Raises:
            NotSignedIn: it is not there, or not right in some way.
        """
        id_token = token.get("id_token")
        if not isinstance(id_token, str):
            raise NotSignedIn("the provider sent no ID token. Is `openid` among console.oidc.scopes?")
        decoded = self._decoded(id_token)
        options: dict[str, Any] = {
            "iss": {"essential": True, "values": [self._settings.issuer, f"{self._settings.issuer}/"]},
            "aud": {"essential": True, "value": self._settings.client_id},
            "sub": {"essential": True},
            "exp": {"essential": True},
            "iat": {"essential": True},
        }
        params = {
            "nonce": nonce,
            "client_id": self._settings.client_id,
            "access_token": token.get("access_token"),
        }
        claims = CodeIDToken(decoded.claims, decoded.header, options, params)
        try:
            claims.validate(now=int(time.time()), leeway=LEEWAY_S)
        except JoseError as error:
            raise NotSignedIn(f"the provider's ID token is not right: {type(error).__name__}.") from error
        return self._claims(claims)

    def _claims(self, claims: Mapping[str, Any]) -> Claims:
        subject = claims["sub"]
        if not (isinstance(subject, str) and 0 < len(subject) <= _LONGEST_SUBJECT):
            raise NotSignedIn("the provider's ID token has no usable subject.")
        name = claims.get(self._settings.name_claim) or claims.get("email") or subject
        groups = claims.get(self._settings.role_claim, ())
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        return Claims(
            f"oidc {self._settings.issuer} {subject}",
            str(name)[:LONGEST_NAME],
            tuple(one for one in listed if isinstance(one, str)),
        )

    def _decoded(self, id_token: str) -> jwt.Token:
        """
        Raises:
            NotSignedIn: no key of the provider's has signed it.
        """
        for fresh in (False, True):  # a provider changes its keys now and then
            try:
                return jwt.decode(id_token, self._key_set(fresh=fresh), algorithms=ALGORITHMS)
            except (JoseError, ValueError) as error:
                failure = error
        raise NotSignedIn(
            f"the provider's ID token is not signed as it should be: {type(failure).__name__}."
        ) from failure

    def _token(
        self, code: str, attempt: Attempt, redirect_uri: str, metadata: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        with self._client(redirect_uri) as client:
            try:
                token: Mapping[str, Any] = client.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    redirect_uri=redirect_uri,
                    code_verifier=attempt.verifier,
                )
            except OAuthError as error:
                raise NotSignedIn(f"the provider took its own code back: {error.error}.") from error
            except (httpx.HTTPError, ValueError) as error:
                raise _silent(error) from error
        return token

    def _client(self, redirect_uri: str) -> OAuth2Client:
        settings = self._settings
        secret = text_of(settings.client_secret_file).strip() if settings.client_secret_file else None
        return OAuth2Client(
            settings.client_id,
            secret,
            token_endpoint_auth_method=self._way(secret),
            scope=" ".join(settings.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            verify=_trusted(settings),
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
        )

    def _way(self, secret: str | None) -> str:
        """How we prove at the token endpoint who we are: as the provider wants it."""
        if not secret:
            return "none"
        ways = self._metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return "client_secret_post" if "client_secret_basic" not in ways else "client_secret_basic"

    # --- what the provider says of itself ---------------------------------------------------------

    def _known(self) -> dict[str, Any]:
        with self._lock:
            if not self._metadata or time.monotonic() - self._asked_at > FRESH_S:
                self._ask()
            return self._metadata

    def _key_set(self, *, fresh: bool) -> KeySet:
        with self._lock:
            age_s = time.monotonic() - self._asked_at
            if self._keys is None or age_s > FRESH_S or (fresh and age_s > AGAIN_S):
                self._ask()
            assert self._keys is not None
            return self._keys

    def _ask(self) -> None:
        """
        Raises:
            ProviderSilent: it does not answer, or not as a provider.
        """
        issuer = self._settings.issuer
        with httpx.Client(verify=_trusted(self._settings), timeout=TIMEOUT_S, trust_env=False) as client:
            metadata = _json_of(client, f"{issuer}/.well-known/openid-configuration")
            if str(metadata.get("issuer", "")).rstrip("/") != issuer:
                raise ProviderSilent("the provider calls itself otherwise than console.oidc.issuer does.")
            for name in _ENDPOINTS:
                _need_safe(str(metadata.get(name, "")))
            keys = _json_of(client, str(metadata["jwks_uri"])).get("keys", [])
        listed = keys if isinstance(keys, list) else []
        usable = [key for key in listed if isinstance(key, dict) and _signs(key)]
        try:
            self._keys = KeySet.import_key_set({"keys": usable})
        except (JoseError, ValueError) as error:
            raise ProviderSilent("the provider's keys cannot be used.") from error
        self._metadata, self._asked_at = metadata, time.monotonic()


def _signs(key: Mapping[str, Any]) -> bool:
    return key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig" and "d" not in key


def _json_of(client: httpx.Client, address: str) -> dict[str, Any]:
    try:
        with client.stream("GET", address, headers={"Accept": "application/json"}) as answer:
            answer.raise_for_status()
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise ProviderSilent("the provider's answer is too long.")
        value = json.loads(body)
    except (httpx.HTTPError, ValueError) as error:
        raise _silent(error) from error
    if not isinstance(value, dict):
        raise ProviderSilent("the provider does not answer as one of OpenID Connect.")
    return value


def _silent(error: Exception) -> ProviderSilent:
    return ProviderSilent(
        f"the provider cannot be asked ({type(error).__name__}). Whoever has a password here can sign in "
    )


def _need_safe(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ProviderSilent("the provider names an address of its own that is not https.")


def _trusted(settings: OidcSettings) -> ssl.SSLContext:
    """
    Raises:
        SettingsError: console.oidc.ca_file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise SettingsError(f"console.oidc.ca_file: {settings.ca_file} cannot be used.") from error
