"""filmgate.yaml and the environment, read once into one frozen, typed Settings.

Each module imports only what stands left of it: blocks, console, destinations, schema, keys, complaints,
reading; and `masking` stands on the schema. Every key is described in docs/configuration.md, and a test
proves that.
"""

from gateway.settings.console import ConsoleSettings, OidcSettings, ProxySettings
from gateway.settings.destinations import (
    Accepts,
    ClassifierDestination,
    DicomDestination,
    FolderDestination,
    RetrySettings,
    WebhookDestination,
)
from gateway.settings.keys import keys
from gateway.settings.masking import values
from gateway.settings.reading import DEFAULT_FILE, PREFIX, Loaded, load, read
from gateway.settings.schema import (
    BundleName,
    GatewaySettings,
    LedgerSettings,
    LogSettings,
    Peer,
    RedisSettings,
    Routes,
    Settings,
    StoreSettings,
)

__all__ = [
    "DEFAULT_FILE",
    "PREFIX",
    "Accepts",
    "BundleName",
    "ClassifierDestination",
    "ConsoleSettings",
    "DicomDestination",
    "FolderDestination",
    "GatewaySettings",
    "LedgerSettings",
    "Loaded",
    "LogSettings",
    "OidcSettings",
    "Peer",
    "ProxySettings",
    "RedisSettings",
    "RetrySettings",
    "Routes",
    "Settings",
    "StoreSettings",
    "WebhookDestination",
    "keys",
    "load",
    "read",
    "values",
]
