"""How many workers a machine, or a container on it, has processors and memory for."""

from __future__ import annotations

import pytest

from gateway.supervisor import machine

GIB = 1 << 30
MEMINFO = "MemTotal:       65536000 kB\nMemFree:  1000 kB\nMemAvailable:   33554432 kB\n"


def showing(**files: str) -> machine.Read:
    """A machine with these files; `__` in a name is a slash."""
    there = {"/" + name.replace("__", "/"): text for name, text in files.items()}
    return lambda path: there.get(path.replace(".", "_"), "")


def test_the_machine_has_what_it_says_it_can_spare() -> None:
    assert machine.memory_mb(showing(proc__meminfo=MEMINFO)) == 32768
    assert machine.memory_mb(showing()) is None


@pytest.mark.parametrize("groups", ["garbage\n", "\n", "0::\n", "0::/x\n\n4:memory\n"])
@pytest.mark.parametrize("stat", ["", "x\n\n", "inactive_file\n", "inactive_file none\n"])
def test_files_that_say_nothing_known_keep_no_gateway_from_starting(groups: str, stat: str) -> None:
    """Sandboxes and containers show files of their own making in /proc."""
    read = showing(
        proc__meminfo=f"\nMemAvailable:\n{MEMINFO}",
        proc__self__cgroup=groups,
        sys__fs__cgroup__memory_max=f"{2 * GIB}\n",
        sys__fs__cgroup__memory_current="none\n",
        sys__fs__cgroup__memory_stat=stat,
    )
    assert machine.memory_mb(read) == (2048 if "/x" in groups else 32768)


def test_a_limit_of_version_2_counts_above_us_too() -> None:
    """docker run --memory 4g; cached files can be given up, so they are no use of memory."""
    read = showing(
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/app.slice/filmgate\n",
        sys__fs__cgroup__app_slice__filmgate__memory_max="max\n",
        sys__fs__cgroup__app_slice__memory_max=f"{4 * GIB}\n",
        sys__fs__cgroup__app_slice__memory_current=f"{2 * GIB}\n",
        sys__fs__cgroup__app_slice__memory_stat=f"anon 5\ninactive_file {GIB}\n",
    )
    assert machine.memory_mb(read) == 3 * 1024


def test_a_container_finds_its_limit_at_the_root() -> None:
    """In it, /proc/self/cgroup may name the host's path, which is not there."""
    read = showing(
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/docker/abc\n",
        sys__fs__cgroup__memory_max=f"{2 * GIB}\n",
        sys__fs__cgroup__memory_current="0\n",
    )
    assert machine.memory_mb(read) == 2048


def test_limits_of_version_1() -> None:
    read = showing(
        proc__meminfo=MEMINFO,
        proc__self__cgroup="5:cpu,cpuacct:/box\n4:memory:/box\n",
        sys__fs__cgroup__memory__box__memory_limit_in_bytes=f"{3 * GIB}\n",
        sys__fs__cgroup__memory__box__memory_usage_in_bytes=f"{GIB}\n",
        sys__fs__cgroup__memory__memory_limit_in_bytes="9223372036854771712\n",
        sys__fs__cgroup__cpu__box__cpu_cfs_quota_us="150000\n",
        sys__fs__cgroup__cpu__box__cpu_cfs_period_us="100000\n",
    )
    assert machine.memory_mb(read) == 2048
    assert machine.cores(read) <= 2


def test_a_quota_of_processors_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """docker run --cpus 1.5 on 16 cores is two workers, not sixteen; no quota is none."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    quota = {"proc__self__cgroup": "0::/\n", "sys__fs__cgroup__cpu_max": "150000 100000\n"}
    assert machine.cores(showing(**quota)) == 2
    assert machine.cores(showing(**quota | {"sys__fs__cgroup__cpu_max": "max 100000\n"})) == 16


@pytest.mark.parametrize(
    ("cores", "memory_mb", "workers"),
    [(16, 65536, 16), (16, 8192, 7), (16, 2048, 1), (4, 512, 1), (2, None, 2), (2, 24000, 2)],
)
def test_one_a_core_where_memory_allows_and_one_in_any_case(
    cores: int, memory_mb: int | None, workers: int
) -> None:
    assert machine.workers(cores, memory_mb) == workers


def test_this_machine_can_be_read() -> None:
    assert machine.cores() >= 1
    free = machine.memory_mb()
    assert free is None or free > 0
