"""The number of cores by affinity and by the quotas of cgroups of both versions."""

import os

import pytest
from unrolled_server.cores import usable_cores


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def cores_with(root, own, files):
    """Returns the cores of a process in the cgroups `own`, where `files` are mounted."""
    for name, content in files.items():
        file = root / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (root / "own").write_text(own)
    return usable_cores(mounted_at=root / "cgroup", own=root / "own")


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/a/b\n", {}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "250000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 2),
        ("0::/other/cgroup\n", {"a/cpu.max": "100000 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/of/the/host\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/a\n", {"a/cpu.max": "unreadable\n"}, 8),
        (
            "4:memory:/m\n3:cpu,cpuacct:/a\n0::/\n",
            {"cpu/a/cpu.cfs_quota_us": "300000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("3:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_the_smallest_quota_from_the_own_cgroup_up_counts(tmp_path, own, files, cores):
    assert cores_with(tmp_path, own, files) == cores


def test_without_cgroups_the_affinity_counts(tmp_path):
    assert usable_cores(mounted_at=tmp_path, own=tmp_path / "missing") == 8


def test_without_affinity_all_cores_count(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cores(mounted_at=tmp_path, own=tmp_path / "missing") == 5
