"""A real provider of OpenID Connect on loopback: npm's oidc-provider, which is certified, run by node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

PACKAGE = "oidc-provider@9.13.3"
SECRET = "a secret of a test that is long enough"
INSTALL_S, START_S = 60, 20
PEOPLE = {
    "u1": {"preferred_username": "anna", "groups": ["radiographers"]},
    "u2": {"preferred_username": "bert", "groups": ["visitors"]},
    "u3": {"preferred_username": "admin", "groups": ["radiology-it"]},
}


@dataclass(frozen=True)
class Peer:
    """The provider: its address, and the key with which it signs."""

    issuer: str
    key: RSAKey


@contextmanager
def provider(port: int, redirect: str) -> Iterator[Peer]:
    """One that sends people back to `redirect`; the test is skipped where it cannot be had."""
    folder = _installed()
    key = RSAKey.generate_key(2048, {"use": "sig", "kid": "k1", "alg": "RS256"}, private=True)
    issuer = f"http://localhost:{port}"  # another site than 127.0.0.1, as a browser sees it
    environment = {
        "ISSUER": issuer,
        "REDIRECT": redirect,
        "SECRET": SECRET,
        "JWKS": json.dumps({"keys": [key.as_dict(private=True)]}),
        "PEOPLE": json.dumps(PEOPLE),
    }
    shutil.copy(Path(__file__).with_name("oidc_provider.mjs"), folder / "provider.mjs")
    process = subprocess.Popen(
        ["node", "provider.mjs"],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        assert any(line.strip() == "ready" for line in lines), "the provider did not start"
        yield Peer(issuer, key)
    finally:
        process.kill()
        process.wait(START_S)
        if process.stdout:
            process.stdout.close()


def _installed() -> Path:
    """The folder with the package, kept between runs."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder = Path(tempfile.gettempdir()) / f"filmgate-{PACKAGE.replace('@', '-')}"
    if not (folder / "whole").exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as making:
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", PACKAGE]
            try:
                subprocess.run(command, cwd=making, check=True, timeout=INSTALL_S, capture_output=True)
            except (subprocess.SubprocessError, OSError):
                pytest.skip(f"{PACKAGE} cannot be installed here")
            (Path(making) / "whole").touch()
            shutil.copytree(making, folder, dirs_exist_ok=True)
    return folder
