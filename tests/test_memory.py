"""Memory of large buffers goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

LETS_GO = """
import threading
from gateway.process.memory import keep_little

def held_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

def work():
    for size in (1, 5, 8, 3):
        bytearray(b"x" * (size * 1_000_000))

keep_little()
before = held_mb()
for _ in range(3):
    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(held_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_process_of_many_threads_keeps_little_of_what_large_buffers_took() -> None:
    """Twelve threads with films of some megabytes each, again and again."""
    shown = subprocess.run([sys.executable, "-c", LETS_GO], capture_output=True, text=True, check=True)
    assert float(shown.stdout) < 10  # 0.4; without it 38 to 48


SETTLED = """
import gc, sqlite3
from gateway.process import memory

before = sqlite3.connect(":memory:").execute("PRAGMA soft_heap_limit").fetchone()[0]
memory.keep_little()
memory.settle()
after = sqlite3.connect(":memory:").execute("PRAGMA soft_heap_limit").fetchone()[0]
print(before, after == memory.SQLITE_BYTES, gc.get_freeze_count() > 1000, gc.isenabled())
"""


def test_what_was_loaded_is_not_looked_through_again_and_sqlite_keeps_little() -> None:
    """Both hold for the whole process; what is made from then on is collected as ever."""
    shown = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["0", "True", "True", "True"]
