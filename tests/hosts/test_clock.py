"""A wrong clock: only the time of day is wrong, only for the service, and only for a while."""

from collections.abc import Iterator

import pytest

from lab import base, clock
from lab.host import LabHost
from lab.lab import Lab

# It says by how much the time of day differs from `date`'s, and whether waiting for 0.3 s takes
# much longer: by the clock of the boot, which is right, in each way that Python has.
PROGRAM = """
import multiprocessing, subprocess, threading, time
date = int(subprocess.run(["date", "+%s"], capture_output=True, env={}).stdout)
print(round(time.time() - date, -1))
held = threading.Lock()
held.acquire()
for wait in (
    lambda: time.sleep(0.3),
    lambda: held.acquire(timeout=0.3),
    lambda: multiprocessing.Event().wait(0.3),
):
    start = time.monotonic()
    wait()
    print(time.monotonic() - start < 10)
"""
UNIT = """
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -u /opt/program.py
DynamicUser=yes
StandardOutput=truncate:/run/program.out
MemoryDenyWriteExecute=yes
ProtectSystem=strict
TimeoutStartSec=20
"""


@pytest.fixture(scope="module")
def host(fit_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    root = base.find_or_make(clock.PACKAGES)
    folder = tmp_path_factory.mktemp("clock") / "hosts"
    with Lab(folder, {"one": "10.77.0.2"}, root) as lab:
        lab["one"].write("/opt/program.py", PROGRAM)
        lab["one"].write("/etc/systemd/system/program.service", UNIT)
        lab["one"].systemctl("daemon-reload")
        yield lab["one"]


def printed(host: LabHost) -> list[str]:
    """What the program printed at its last start."""
    return host.read("/run/program.out").split()


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_the_time_of_day_is_wrong_and_waiting_is_not(host: LabHost, seconds: int) -> None:
    with clock.shifted(host, "program.service", seconds=seconds):
        assert printed(host) == [f"{seconds:.1f}", "True", "True", "True"]
    assert printed(host) == ["0.0", "True", "True", "True"]
