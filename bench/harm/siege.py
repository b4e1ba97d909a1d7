"""Does an honest C-ECHO get its answer while others misbehave, and what do they cost the listener?

    python bench/harm/siege.py [--echoes 40]

One silent TCP client, 20 half-sent PDU headers, a PDU length of 4 GiB, and 500 silent sockets; against a
whole gateway on loopback. Slowest of the echoes in seconds, growth of the listener's memory in MB.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all of bench/ shares

from rig import Gateway, cpu_model, gateway, rss_mb

from gateway.destinations import scu

HALF_HEADER = b"\x01\x00\x00"
GIANT = b"\x01\x00" + struct.pack(">L", 0xFFFFFFFF) + bytes(100)


def silent(port: int, count: int, first: bytes = b"") -> list[socket.socket]:
    connected = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=5)
        if first:
            one.sendall(first)
        connected.append(one)
    return connected


ATTACKS: dict[str, Callable[[int], list[socket.socket]]] = {
    "nobody": lambda port: silent(port, 0),
    "one silent client": lambda port: silent(port, 1),
    "20 half-sent headers": lambda port: silent(port, 20, HALF_HEADER),
    "a PDU length of 4 GiB": lambda port: silent(port, 1, GIANT),
    "500 silent sockets": lambda port: silent(port, 500),
}


def besieged(running: Gateway, attack: Callable[[int], list[socket.socket]], echoes: int) -> dict[str, Any]:
    listener = running.pid_of(" listen ")
    before, took = rss_mb(listener), []
    with ExitStack() as stack:
        for one in attack(running.port):
            stack.callback(one.close)
        for _ in range(echoes):
            start = time.monotonic()
            scu.echo("127.0.0.1", running.port, "FILMGATE", calling="HONEST", timeout_s=5)
            took.append(time.monotonic() - start)
        grown = rss_mb(listener) - before
    return {"answered": len(took), "slowest_s": round(max(took), 3), "memory_mb": round(grown, 1)}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--echoes", type=int, default=40)
    args = options.parse_args()
    with gateway() as running:
        besieged(running, ATTACKS["nobody"], args.echoes)  # the first echoes load code
        result = {name: besieged(running, attack, args.echoes) for name, attack in ATTACKS.items()}
    print(json.dumps({"machine": cpu_model(), "siege": result}, indent=1))


if __name__ == "__main__":
    main()
