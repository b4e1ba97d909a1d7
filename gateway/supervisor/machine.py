"""What this process may use of the machine: processors and memory, within the limits of containers too.

Pure functions over what Linux shows: `/proc/meminfo` and the files of control groups, version 1 and 2.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

WORKER_MB = 900  # a worker with its decoder and reporter, the larger models included
RESERVE_MB = 1500  # for listener, dispatcher, supervisor, Redis and the machine itself

Read = Callable[[str], str]  # the text of a file; "" where there is none


def read(path: str) -> str:
    """The text of a file of the machine; "" when it cannot be had."""
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def workers(cores: int, memory_mb: int | None) -> int:
    """How many workers fit: one a core, if there is memory for them, and one in any case."""
    if memory_mb is None:
        return max(1, cores)
    return max(1, min(cores, (memory_mb - RESERVE_MB) // WORKER_MB))


def cores(read: Read = read) -> int:
    """Processors that this process may use: its affinity, and the quotas of its control groups."""
    allowed = len(os.sched_getaffinity(0))
    quotas = [quota for folder in _groups(read, "cpu") if (quota := _quota(folder, read)) is not None]
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas)]))


def memory_mb(read: Read = read) -> int | None:
    """MiB that may still be used: what the machine has to spare, and what control groups leave of it.

    None where the machine does not say.
    """
    rooms = [room for folder in _groups(read, "memory") if (room := _room(folder, read)) is not None]
    available = _named(read("/proc/meminfo")).get("MemAvailable:", "")
    rooms += [int(available) << 10] if available.isdigit() else []
    return min(rooms) >> 20 if rooms else None


def _groups(read: Read, controller: str) -> Iterator[str]:
    """The folders of the control groups that this process is in, each with all above it.

    In a container the path may be that of the host, which is not there: the root is looked at in any case.
    """
    for line in read("/proc/self/cgroup").splitlines():
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if not path:  # no kernel of ours wrote it
            continue
        if names == "":
            root = "/sys/fs/cgroup"
        elif controller in names.split(","):
            root = f"/sys/fs/cgroup/{controller}"
        else:
            continue
        inner = path.rstrip("/")
        while inner:
            yield root + inner
            inner = inner.rpartition("/")[0]
        yield root


def _room(folder: str, read: Read) -> int | None:
    """Bytes that a group may still use; None where it has no limit. Cached files can be given up."""
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        text = read(f"{folder}/{limit}").strip()
        if text.isdigit() and int(text) < 1 << 60:  # version 1 says "no limit" with a huge number
            stat = _named(read(f"{folder}/memory.stat"))
            using = _number(read(f"{folder}/{used}").strip()) - _number(stat.get(cached, ""))
            return max(0, int(text) - max(0, using))
    return None


def _named(text: str) -> dict[str, str]:
    """The second word of each line by the first."""
    return {words[0]: words[1] for words in map(str.split, text.splitlines()) if len(words) > 1}


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _quota(folder: str, read: Read) -> float | None:
    """Processors that a group may use on average; None where it has no quota."""
    match read(f"{folder}/cpu.max").split():
        case [quota, period] if quota.isdigit():
            return int(quota) / int(period)
    quota = read(f"{folder}/cpu.cfs_quota_us").strip()
    period = read(f"{folder}/cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None
