"""The processor cores that this process may use, by its affinity and the quotas of its cgroups."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores(*, mounted_at: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> int:
    """Returns the number of cores, at least 1; a quota of 1.5 cores counts as 2."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, math.ceil(min([cores, *_quotas(mounted_at, own)])))


def _quotas(mounted_at: Path, own: Path) -> Iterator[float]:
    """Yields the quotas in cores of this process's cgroups and those above them, of versions 1 and 2.

    In a container the paths in `own` may be the host's; the container's own cgroup is then the mounted root.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)  # 0::/a/b, or 3:cpu,cpuacct:/a/b
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mounted_at / "cpu" if controllers else mounted_at
        group = root / path.lstrip("/")
        for directory in (group, *group.parents):
            yield from _quota(directory, is_first_version=bool(controllers))
            if directory == root:
                break


def _quota(directory: Path, *, is_first_version: bool) -> Iterator[float]:
    """Yields the quota of one cgroup in cores, if it has one."""
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if is_first_version else ("cpu.max",)
    try:
        quota, period = " ".join([(directory / name).read_text() for name in names]).split()
        if quota not in ("max", "-1"):
            yield int(quota) / int(period)
    except (OSError, ValueError):  # no such file: the root of version 2 has none
        return
