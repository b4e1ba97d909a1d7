"""Orthanc, the open-source PACS, as a peer of a gateway: started on loopback, asked by its REST API."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import free_port, listening, wait_for

ORTHANC = Path("/usr/sbin/Orthanc")


@dataclass(frozen=True)
class Orthanc:
    """A running server, by its REST API."""

    http_port: int

    def ask(self, path: str, body: bytes | dict[str, Any] | list[str] | None = None) -> bytes:
        """GET, or POST when there is a body."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=data)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read())

    def tags(self) -> list[dict[str, Any]]:
        """The tags of every instance, by keyword."""
        found = json.loads(self.ask("/instances"))
        return [{"id": one, **json.loads(self.ask(f"/instances/{one}/simplified-tags"))} for one in found]

    def instance(self, uid: str) -> dict[str, Any]:
        (found,) = (tags for tags in self.tags() if tags["SOPInstanceUID"] == uid)
        return found

    def copies_of(self, uid: str) -> list[dict[str, Any]]:
        return [
            tags
            for tags in self.tags()
            if any(item["ReferencedSOPInstanceUID"] == uid for item in tags.get("SourceImageSequence", ()))
        ]

    def pixels(self, instance: str) -> bytes:
        return self.ask(f"/instances/{instance}/content/7fe0-0010/0")


def configuration(
    folder: Path, name: str, dicom_port: int, http_port: int | None = None, **settings: Any
) -> Path:
    """Write a configuration file into `folder`, whose storage is below it too; `settings` are added."""
    config = {
        "Name": name,
        "DicomAet": name,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "HttpServerEnabled": http_port is not None,
        "HttpPort": http_port or 8042,
        "StorageDirectory": str(folder / name),
        "AuthenticationEnabled": False,
        "Plugins": [],
        **settings,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    return path


@contextmanager
def orthanc(
    folder: Path, name: str, dicom_port: int, gateway_port: int, **settings: Any
) -> Iterator[Orthanc]:
    """An Orthanc of our own, which knows the gateway as the modality `filmgate`; `settings` are added."""
    http_port = free_port()
    path = configuration(
        folder,
        name,
        dicom_port,
        http_port,
        DicomModalities={"filmgate": ["FILMGATE", "127.0.0.1", gateway_port]},
        **settings,
    )
    log = (folder / f"{name}.log").open("wb")
    with log, subprocess.Popen([ORTHANC, str(path)], stdout=log, stderr=log) as process:
        try:
            for port in (dicom_port, http_port):
                wait_for(lambda port=port: listening(port), 20, f"Orthanc {name} did not start")
            yield Orthanc(http_port)
        finally:
            process.terminate()
