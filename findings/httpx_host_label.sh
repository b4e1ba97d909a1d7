#!/usr/bin/env bash
# httpx 0.28.1 and requests 2.34.2: a host name with an empty label, or one of more than 63 letters, as a slip in the
# settings makes it.
#
# Its documentation: all errors of a request are under httpx.HTTPError, those of a URL are httpx.InvalidURL.
#
# Expected: httpx.URL refuses `https://pacs..example/` with InvalidURL, as it refuses other names that IDNA forbids; or the
# request raises ConnectError, as for a name that nobody has. requests, whose errors are all RequestException, likewise.
# Seen: httpx.URL takes both. The request raises UnicodeError, which Python's own getaddrinfo raises before it asks any name
# server. It is a ValueError: `except httpx.HTTPError`, `except httpx.InvalidURL` and `except OSError` all miss it. requests
# lets LocationParseError of urllib3 through, which is no RequestException.
#
# Why it matters: whatever delivers to a webhook or DICOMweb retries on HTTPError. For one mistyped dot it ends instead, in a
# place that was proved against every fault of the network, and after the address was "checked" by httpx.URL.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "httpx==0.28.1" "requests==2.34.2"
cd "$work"
venv/bin/python - <<'PY'
import os
import sys

import httpx
import requests

os.environ["NO_PROXY"] = "*"  # no proxy stands between: the name is looked up here
print("httpx", httpx.__version__, "requests", requests.__version__)
seen = []
for url in ("http://pacs..invalid/", f"http://{'p' * 64}.invalid/", "http://pacs.invalid/"):
    httpx.URL(url)
    outcomes = []
    for library, get in (("httpx", httpx.get), ("requests", requests.get)):
        try:
            get(url)
        except Exception as exc:
            own = isinstance(exc, (httpx.HTTPError, httpx.InvalidURL, requests.RequestException))
            outcomes.append((library, type(exc).__name__, own))
    print(url[:30], outcomes)
    seen.append([outcome[1:] for outcome in outcomes])
slip = [("UnicodeError", False), ("LocationParseError", False)]
same = seen == [slip, slip, [("ConnectError", True), ("ConnectionError", True)]]
sys.exit(0 if same else "the behaviour has changed")
PY
