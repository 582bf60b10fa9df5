"""The lab itself: its hosts are servers, its network breaks as networks do, and nothing is left."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from lab import faults
from lab.client import connect
from lab.deadline import wait_for
from lab.errors import CommandError, DownError, LabError
from lab.host import LabHost
from lab.lab import Lab
from lab.load import asking

QUICK_SECONDS = 10.0

SERVER = "/usr/bin/python3 -m http.server 8000 --directory /srv"
"""A stand-in for a host's own server, from what a bare Debian has."""


@pytest.fixture
def api(lab: Lab) -> Iterator[LabHost]:
    yield lab["api"]
    lab.network.repair()
    if not lab["api"].is_on:
        lab["api"].boot()


@pytest.fixture
def server(api: LabHost) -> Iterator[str]:
    api.write("/srv/document", "{}")
    api.run("systemd-run", "--unit=server", "--property=Restart=always", *SERVER.split())
    wait_until_listening(api, 8000)
    yield "server.service"
    api.systemctl("stop", "server.service")


def wait_until_listening(host: LabHost, port: int) -> None:
    host.wait_for(
        lambda: f":{port} " in host.run("ss", "-Htuln").stdout, QUICK_SECONDS, f"port {port}"
    )


def pings(host: LabHost, name: str, count: int = 1, wait: float = 1) -> int:
    """How many of `count` pings were answered."""
    command = ["ping", "-c", str(count), "-i", "0.01", "-W", str(wait), name]
    printed = host.run(*command, check=False).stdout
    return int(printed.split(" received")[0].split()[-1])


def exit_code_of(host: LabHost, *words: str) -> int:
    """How a command ended that systemd ran with the properties that are among its words."""
    command = ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", *words]
    return host.run(*command, check=False, seconds=60).returncode


def test_every_host_reaches_every_other_by_name(lab: Lab) -> None:
    for host in lab.hosts.values():
        for name in lab.hosts:
            assert pings(host, name) == 1
        assert host.run("hostname").stdout.strip() == host.name


def test_a_host_is_a_bare_debian_without_a_way_out(lab: Lab) -> None:
    host = lab["mlflow"]
    assert host.systemctl("is-system-running") == "running"
    assert host.run("python3", "--version").stdout.startswith("Python 3.11")
    assert host.run("python3", "-m", "pip", check=False).returncode == 1
    assert host.shell("ip route show default").stdout == ""
    assert {machine.read("/etc/machine-id") for machine in lab.hosts.values()} != {""}


def test_the_world_is_a_client_that_knows_the_names(lab: Lab, server: str) -> None:
    assert lab.run("curl", "--silent", "--fail", "http://api:8000/document").stdout == "{}"
    with connect(lab, "http://api:8000") as client:
        assert client.get("/document").text == "{}"


def test_a_client_leaves_its_thread_in_the_network_where_it_was(lab: Lab, server: str) -> None:
    before = Path("/proc/thread-self/ns/net").readlink()
    with connect(lab, "http://api:8000") as client:
        client.get("/document")
        assert Path("/proc/thread-self/ns/net").readlink() == before
        with pytest.raises(httpx.ConnectError):
            client.get("http://api:9/")
    assert Path("/proc/thread-self/ns/net").readlink() == before


def test_files_come_and_go_with_their_modes(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 4096)
    file.chmod(0o750)
    host = lab["airflow"]
    host.put(file, "/opt/new folder/copy")
    assert host.run("stat", "--format=%a %s", "/opt/new folder/copy").stdout == "750 1048576\n"
    host.write("/opt/text", "écrit", mode="600")
    assert host.read("/opt/text") == "écrit"
    assert host.exists("/opt/text")
    assert not host.exists("/opt/none")
    with pytest.raises(LabError, match="cannot be copied to airflow:/proc/no"):
        host.put(file, "/proc/no")


def test_a_command_that_fails_says_where_and_what_it_printed(lab: Lab) -> None:
    with pytest.raises(CommandError, match=r"'cat /none' on mlflow ended with 1:\n.*No such file"):
        lab["mlflow"].read("/none")


def test_a_cut_link_is_silent_and_no_other(lab: Lab, api: LabHost) -> None:
    with faults.cut(lab, "api", "mlflow"):
        assert pings(api, "mlflow") == 0
        assert pings(lab["mlflow"], "api") == 0
        assert pings(api, "airflow") == 1
        assert pings(lab["airflow"], "mlflow") == 1
    assert pings(api, "mlflow") == 1


def test_a_link_can_be_cut_one_way(lab: Lab, api: LabHost) -> None:
    listen = (
        "/usr/bin/python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
    )
    receive = f'{listen}; s.bind(("", 9999)); print(s.recv(99).decode(), flush=True)\''
    for host in (api, lab["mlflow"]):
        host.shell(f"systemd-run --unit=receiver {receive}")
        wait_until_listening(host, 9999)
    send = "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
    for source, destination in ((api, lab["mlflow"]), (lab["mlflow"], api)):
        # Both know each other's hardware address, which is asked for in both directions.
        assert pings(source, destination.name) == 1
    with faults.cut(lab, "api", "mlflow", one_way=True):
        for source, name in ((api, "mlflow"), (lab["mlflow"], "api")):
            source.run("python3", "-c", f"{send}.sendto(b'hello', ('{name}', 9999))")
        api.wait_for(lambda: "hello" in api.journal("receiver"), QUICK_SECONDS, "a message")
        assert "hello" not in lab["mlflow"].journal("receiver")
    lab["mlflow"].systemctl("stop", "receiver")


def test_the_world_can_be_cut_off_too(lab: Lab, api: LabHost, server: str) -> None:
    command = ["curl", "--silent", "--max-time", "1", "http://api:8000/document"]
    timed_out = pytest.raises(CommandError, match="ended with 28")
    with faults.cut(lab, "world", "api"), timed_out:
        lab.run(*command)
    assert lab.run(*command).stdout == "{}"


def test_loss_loses_a_share(lab: Lab, api: LabHost) -> None:
    with faults.loss(lab, "api", "mlflow", 30):
        # 0.7 * 0.7 of 200 come back: 98, give or take 7.
        assert 50 < pings(api, "mlflow", 200, 0.2) < 150
    assert pings(api, "mlflow", 50) == 50


def test_a_blocked_port_is_silent_and_no_other(lab: Lab, api: LabHost, server: str) -> None:
    with faults.blocked(lab, "api", 8000):
        for port, code in ((8000, 28), (8001, 7)):  # 28: it timed out; 7: it was refused.
            url = f"http://api:{port}/document"
            asked = lab["mlflow"].run("curl", "--max-time", "1", url, check=False)
            assert asked.returncode == code
    assert lab["mlflow"].run("curl", "http://api:8000/document").stdout == "{}"


def test_an_unplugged_host_is_silent(lab: Lab, api: LabHost) -> None:
    with faults.unplugged(lab, "api"):
        assert pings(lab["mlflow"], "api") == 0
    wait_for(lambda: pings(lab["mlflow"], "api") == 1, QUICK_SECONDS, "a ping over the cable")


def test_a_power_cut_keeps_what_was_synced_and_loses_the_rest(api: LabHost) -> None:
    api.shell("echo kept > /root/synced; sync /root/synced /root; echo lost > /root/unsynced")
    with faults.without_power(api):
        assert not api.is_on
        with pytest.raises(DownError, match="api is off"):
            api.run("true")
    assert api.systemctl("is-system-running") == "running"
    assert api.read("/root/synced") == "kept\n"
    assert not api.exists("/root/unsynced")


def test_a_host_that_is_shut_down_in_order_keeps_everything(api: LabHost) -> None:
    api.write("/root/unsynced", "kept")
    api.switch_off()
    assert not api.is_on
    assert api.boot() == "running"
    assert api.read("/root/unsynced") == "kept"


def test_a_host_reboots_by_itself(api: LabHost) -> None:
    before = api.pid
    api.systemctl("reboot", check=False)
    api.wait_for(lambda: api.is_on and api.pid != before, what="another boot")
    assert api.wait_until_booted() == "running"


def test_a_full_disk_takes_nothing_until_it_is_freed(api: LabHost) -> None:
    write = "head -c 100000 /dev/zero > /root/file; sync /root/file"
    with faults.full_disk(api):
        assert "No space left on device" in api.shell(write, check=False).stderr
    api.shell(write)
    with faults.full_disk(api, free=1024**2):
        api.shell(write)
        assert 0 < api.disk.free() <= 1024**2
        assert "No space" in api.shell("head -c 2M /dev/zero > /root/f", check=False).stderr
    api.run("rm", "/root/file", "/root/f")


def test_limits_bite(lab: Lab, server: str) -> None:
    host = lab["mlflow"]
    hog = ["python3", "-c", "b = bytearray(300_000_000); b[::4096] = b[::4096]"]
    forks = ["python3", "-c", "import os\nfor _ in range(9): os.fork() or os._exit(0)"]
    curl = ["curl", "--silent", "--max-time", "2", "http://api:8000/document"]
    for limit, command in (
        ("MemoryMax=100M", hog),
        ("TasksMax=4", forks),
        ("IPAddressDeny=any", curl),
        ("SystemCallFilter=~socket", curl),
    ):
        assert exit_code_of(host, *command) == 0
        assert exit_code_of(host, f"--property={limit}", *command) != 0, limit


def test_a_processor_is_shared_as_told(lab: Lab) -> None:
    spin = (
        "import time\nend = time.time() + 1\nwhile time.time() < end: pass\n"
        "print(time.process_time())"
    )
    command = ["systemd-run", "--quiet", "--wait", "--pipe", "--property=CPUQuota=20%"]
    used = float(lab["mlflow"].run(*command, "python3", "-c", spin).stdout)
    assert used < 0.5


def test_killed_and_stopped_processes_are_those_of_the_unit(
    lab: Lab, api: LabHost, server: str
) -> None:
    [main] = faults.processes(api, server)
    assert main == int(api.property_of(server, "MainPID"))
    curl = ["curl", "--silent", "--max-time", "0.5", "http://api:8000/document"]
    with faults.stopped(api, main):
        assert api.run(*curl, check=False).returncode == 28
    assert api.run(*curl).stdout == "{}"
    faults.kill(api, main)
    api.wait_for(lambda: faults.processes(api, server) not in ([], [main]), what="a restart")


def test_load_counts_requests_failures_and_the_longest_gap(
    lab: Lab, api: LabHost, server: str
) -> None:
    with asking(lab, lambda client: client.get("http://api:8000/document")) as load:
        wait_for(lambda: load.requests > 50, QUICK_SECONDS, "50 requests")
        assert not load.failures
        api.systemctl("stop", server)
        gone = time.monotonic()
        wait_for(lambda: len(load.failures) > 10, QUICK_SECONDS, "10 failures")
        assert not load.has_answered_since(gone)
        pause = time.monotonic() - gone
        api.run("systemd-run", "--unit=server", *SERVER.split())
        wait_for(lambda: load.has_answered_since(gone), QUICK_SECONDS, "an answer")
    assert load.longest_gap > pause
    assert "ConnectError" in load.failures[-1]


def test_a_lab_that_is_up_is_found_again(lab: Lab) -> None:
    again = Lab.running(lab.folder)
    assert again["api"].pid == lab["api"].pid
    with pytest.raises(LabError, match=r"is up in .* already"):
        again.up()


def test_nothing_is_left_of_a_lab(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    before = traces(str(folder))
    with Lab(folder, {"one": "10.77.0.9", "two": "10.77.0.10"}) as other:
        other["one"].run("systemd-run", "--quiet", "sleep", "infinity")
        assert pings(other["one"], "two") == 1
        groups = [other.cgroups.unified, *other.cgroups.old]
        assert all(group.is_dir() for group in groups)
        assert traces(str(folder)) != before
        namespaces, processes = namespaces_of(other), running()
        other["two"].crash()
    assert traces(str(folder)) == before
    assert not any(group.exists() for group in groups)
    assert not folder.exists()
    # A process that has ended keeps its namespaces until its parent, number 1 here, has asked how.
    wait_for(
        lambda: not namespaces & namespaces_in_use(processes), QUICK_SECONDS, "the namespaces' end"
    )
    assert lab["api"].is_on


def traces(folder: str) -> list[str]:
    """Where a folder is named: in command lines, mounts and loop devices."""
    files = [
        *Path("/proc").glob("[0-9]*/cmdline"),
        *Path("/sys/block").glob("loop*/loop/backing_file"),
        Path("/proc/mounts"),
    ]
    seen = []
    for file in files:
        with suppress(OSError):
            seen += [str(file)] * (folder in file.read_text(errors="replace"))
    return seen


def namespaces_of(lab: Lab) -> set[str]:
    kinds = ("mnt", "net", "pid")
    processes = [lab.init, *(host.pid for host in lab.hosts.values())]
    return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for pid in processes for kind in kinds}


def running() -> set[str]:
    """Each process by its number and the moment when it began: numbers are used again."""
    return set(filter(None, (identity(folder) for folder in Path("/proc").glob("[0-9]*"))))


def identity(process: Path) -> str:
    try:
        return f"{process.name} {(process / 'stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return ""  # It has ended.


def namespaces_in_use(processes: set[str]) -> set[str]:
    """The namespaces of those of the processes that still run."""
    seen = set()
    for process in processes & running():
        for link in Path(f"/proc/{process.split()[0]}/ns").glob("*"):
            with suppress(OSError):
                seen.add(str(link.readlink()))
    return seen
