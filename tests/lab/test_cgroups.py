"""Cgroups: a place in each hierarchy, on machines of either version and with both."""

import pytest

from lab.cgroups import places

BOTH = """\
26 25 0:23 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
27 26 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
28 26 0:25 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
29 26 0:26 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
30 26 0:27 / /sys/fs/cgroup/systemd rw,relatime shared:9 - cgroup cgroup rw,name=systemd
31 26 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
OWN_BOTH = "4:devices:/x\n3:cpu,cpuacct:/\n2:memory:/jobs/a:b\n1:name=systemd:/\n0::/ours\n"

ONLY_NEW = "30 23 0:26 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

IN_CONTAINER = """\
28 26 0:25 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 26 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("own", "mounts", "unified", "old"),
    [
        (
            OWN_BOTH,
            BOTH,
            "/sys/fs/cgroup/unified",
            (
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/memory/jobs/a:b",
                "/sys/fs/cgroup/systemd",
            ),
        ),
        ("0::/user.slice/user-0.slice\n", ONLY_NEW, "/sys/fs/cgroup", ()),
        (
            "2:memory:/docker/abc/job\n0::/\n",
            IN_CONTAINER,
            "/sys/fs/cgroup/unified",
            ("/sys/fs/cgroup/memory/job",),
        ),
        (
            "2:memory:/elsewhere\n0::/\n",
            IN_CONTAINER,
            "/sys/fs/cgroup/unified",
            ("/sys/fs/cgroup/memory",),
        ),
    ],
    ids=["both versions", "version 2", "a container", "a container, seen from outside"],
)
def test_a_lab_has_a_place_in_every_hierarchy_that_limits(
    own: str, mounts: str, unified: str, old: tuple[str, ...]
) -> None:
    assert places(own, mounts) == (unified, old)
