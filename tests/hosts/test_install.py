"""Install, uninstall, and power cuts in the middle, on a server with a real systemd."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from lab.host import LabHost
from lab.lab import Lab
from tests.hosts import kettle

PEX = "/root/kettle_host.pex"
EVERYTHING = (
    "find / -xdev ! -path '/run/*' ! -path '/var/log/*' ! -path '/tmp*' ! -path /root"
    " -newer /root/mark"
)


@pytest.fixture(scope="module")
def host_pex() -> Path:
    """The PEX of a real host, which kettles are made from."""
    return kettle.host_pex()


@pytest.fixture(scope="module")
def first(host_pex: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first release of the kettle."""
    return kettle.build(tmp_path_factory.mktemp("kettle") / "kettle_host.pex", host_pex)


@pytest.fixture
def server(lab: Lab, first: Path) -> LabHost:
    """A server without a kettle, and its PEX file there."""
    server = lab["mlflow"]
    if server.exists("/usr/local/bin/kettle-host"):
        server.run("kettle-host", "uninstall", "--purge", "--yes")
    server.put(first, PEX)
    return server


def install(server: LabHost, *arguments: str) -> subprocess.CompletedProcess[str]:
    return server.run(PEX, "install", *arguments)


def kettle_files(server: LabHost) -> str:
    return server.shell("find /opt /etc /usr/local /var/lib /var/backups -name '*kettle*'").stdout


def start(server: LabHost) -> None:
    server.shell("sed -i s/OWNER=.*/OWNER=me/ /etc/kettle-host/env")
    server.systemctl("enable", "--now", "kettle-host")


def answer(server: LabHost) -> dict[str, int]:
    found: dict[str, int] = json.loads(server.run("curl", "-sS", "http://127.0.0.1:7000/").stdout)
    return found


def test_a_dry_run_tells_all_and_touches_nothing(server: LabHost) -> None:
    server.run("touch", "/root/mark")
    told = install(server, "--dry-run").stdout
    changed = server.shell(EVERYTHING).stdout
    assert changed == ""
    assert "would make   /usr/local/lib/systemd/system/kettle-host.service" in told
    assert not server.exists("/opt/kettle-host")
    assert not server.exists("/root/.pex")


def test_the_first_day(server: LabHost) -> None:
    told = install(server).stdout
    assert "made     user kettle-host" in told
    assert "KETTLE_OWNER is not set: Who drinks; for example KETTLE_OWNER=me" in told
    assert "/etc/kettle-host/credentials/KETTLE_SPOON" in told
    assert "- systemctl enable --now kettle-host\n- kettle-host doctor" in told
    assert not server.exists("/root/.pex")
    start(server)
    assert answer(server) == {"schema": 1, "cups": 1}
    modes = server.shell(
        "stat -c '%a %U:%G' /etc/kettle-host/env /etc/kettle-host/credentials"
        " /etc/kettle-host/credentials/* /var/lib/kettle-host"
    ).stdout.splitlines()
    assert modes == [
        "640 root:kettle-host",
        "700 root:root",
        "600 root:root",
        "600 root:root",
        "700 kettle-host:kettle-host",
    ]
    assert len(server.read("/etc/kettle-host/credentials/KETTLE_KEY")) == 32
    status = json.loads(server.run("kettle-host", "status", "--json").stdout)
    assert status["well"]
    assert status["units"][0]["name"] == "kettle-host.service"


def test_done_again_it_changes_nothing(server: LabHost) -> None:
    install(server)
    server.write("/etc/kettle-host/env", "KETTLE_OWNER=me\n", mode="640")
    server.run("chgrp", "kettle-host", "/etc/kettle-host/env")
    server.run("touch", "/root/mark")
    assert "is installed as it should be" in install(server).stdout
    assert "is installed as it should be" in server.run("kettle-host", "install").stdout
    assert server.shell(EVERYTHING).stdout == ""


def test_it_mends_what_is_wrong(server: LabHost) -> None:
    install(server)
    server.shell(
        "chmod 644 /etc/kettle-host/env /etc/kettle-host/credentials/*;"
        " chown 1:1 /etc/kettle-host/env; chmod 755 /etc/kettle-host/credentials;"
        " echo '# mine' >> /usr/local/lib/systemd/system/kettle-host.service;"
        " rm /usr/local/lib/systemd/system/kettle-host.service.d/*; userdel kettle-host;"
        " rm /opt/kettle-host/current"
    )
    done = json.loads(install(server, "--json").stdout)
    assert [(item["verb"], item["what"]) for item in done["changes"]] == [
        ("make", "user kettle-host"),
        ("change", "/etc/kettle-host/credentials"),
        ("change", "/var/backups/kettle-host"),
        ("change", "/etc/kettle-host/env (who may read it)"),
        ("change", "/etc/kettle-host/credentials/KETTLE_KEY (who may read it)"),
        ("change", "/etc/kettle-host/credentials/KETTLE_SPOON (who may read it)"),
        ("change", "/usr/local/lib/systemd/system/kettle-host.service"),
        (
            "make",
            "/usr/local/lib/systemd/system/kettle-host.service.d/10-hardening.conf",
        ),
        ("change", "what systemd knows of the units"),
        ("make", f"/opt/kettle-host/current -> releases/{done['release']}"),
    ]
    assert json.loads(install(server, "--json").stdout)["changes"] == []


def test_what_is_in_the_way_is_told_at_once(server: LabHost) -> None:
    server.write("/etc/kettle-host/env", "KETTLE_PORT=7001\n")
    listening = "import socket,time; s=socket.create_server(('127.0.0.1',7001)); time.sleep(600)"
    server.run("systemd-run", "--unit=squatter", "python3", "-c", listening)
    server.shell("mv /run/dbus/system_bus_socket /run/dbus/away")
    try:
        server.wait_for(
            lambda: ":7001" in server.run("ss", "-ltn").stdout, what="a program on port 7001"
        )
        done = server.run(PEX, "install", check=False)
    finally:
        server.shell("mv /run/dbus/away /run/dbus/system_bus_socket; rm -r /etc/kettle-host")
        server.systemctl("stop", "squatter")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: D-Bus is missing, through which commands are run as a service:"
        " 'apt-get install dbus'",
        "error: port 7001 of 127.0.0.1 is taken by another program ('ss -ltnp' names it): stop it,"
        " or set KETTLE_PORT in /etc/kettle-host/env to another",
    ]
    assert not server.exists("/opt/kettle-host")


def test_it_installs_only_the_file_that_was_asked_for(server: LabHost, first: Path) -> None:
    digest, other = hashlib.sha256(first.read_bytes()).hexdigest(), "0" * 64
    server.write("/root/SHA256SUMS", f"{other}  kettle_host.pex\n")
    server.run("touch", "/root/mark")
    for given, origin in ((other, "--verify"), ("/root/SHA256SUMS", "/root/SHA256SUMS line 1")):
        done = server.run(PEX, "install", "--verify", given, check=False)
        assert done.returncode == 1
        assert f"its SHA-256 is {digest}, and {origin} says {other}" in done.stderr
    assert server.shell(EVERYTHING).stdout == ""
    server.shell(f"cd /root; sha256sum kettle_host.pex {PEX} > SHA256SUMS")
    install(server, "--verify", "/root/SHA256SUMS")
    bill = json.loads(server.run("kettle-host", "sbom").stdout)
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest}]


def test_only_root_may(server: LabHost) -> None:
    server.shell(f"cp {PEX} /tmp/kettle_host.pex; chmod 755 /tmp/kettle_host.pex")
    for command in ("install", "uninstall", "rollback"):
        done = server.run(
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
            *("env", "HOME=/tmp/nobody", "/tmp/kettle_host.pex", command),
            check=False,
        )
        assert (done.returncode, done.stderr) == (
            1,
            f"error: only root may do this: 'sudo kettle-host {command}'\n",
        )


def test_an_image_runs_where_it_is_the_root(server: LabHost) -> None:
    server.shell(
        "mkdir -p /srv/image/etc; cp -a /etc/passwd /etc/group /srv/image/etc;"
        " for folder in usr bin lib lib64 sbin; do"
        "   [ ! -L /$folder ] || cp -a /$folder /srv/image/; done;"
        " mkdir -p /srv/image/usr/local; for folder in bin lib lib64 share sbin; do"
        "   cp -a /usr/$folder /srv/image/usr/; done"
    )
    done = json.loads(install(server, "--json", "--root", "/srv/image").stdout)
    assert done["left"]["commands"] == [
        "systemctl enable --now kettle-host",
        "kettle-host doctor",
    ]
    assert kettle_files(server) == ""
    inside = ("chroot", "/srv/image")
    told = json.loads(server.run(*inside, "kettle-host", "version", "--json").stdout)
    assert told["version"]
    assert "home = /usr/bin" in server.read("/srv/image/opt/kettle-host/current/venv/pyvenv.cfg")
    assert server.shell("grep -rlI /srv/image /srv/image/opt || true").stdout == ""
    assert json.loads(install(server, "--json", "--root", "/srv/image").stdout)["changes"] == []


def test_uninstall_keeps_data_and_purge_does_not(server: LabHost) -> None:
    install(server)
    start(server)
    answer(server)
    told = server.run("kettle-host", "uninstall", "--yes").stdout
    assert "kept     /var/lib/kettle-host" in told
    assert server.systemctl("list-unit-files", "--no-legend", "kettle-host*", check=False) == ""
    assert kettle_files(server).split() == [
        "/etc/kettle-host",
        "/var/lib/kettle-host",
        "/var/lib/kettle-host/kettle.db",
        "/var/backups/kettle-host",
    ]
    install(server)
    server.systemctl("enable", "--now", "kettle-host")
    assert answer(server) == {"schema": 1, "cups": 2}
    server.run("kettle-host", "uninstall", "--purge", "--yes")
    assert kettle_files(server) == ""
    assert server.run("id", "kettle-host", check=False).returncode != 0
    assert "is not installed here" in server.run(PEX, "uninstall", "--yes").stdout


@pytest.mark.parametrize(
    "made",
    [
        "/root/.pex",
        "/opt/kettle-host",
        "/opt/kettle-host/releases/*/venv",
        "/usr/local/lib/systemd/system/kettle-host.service",
        "/etc/kettle-host/credentials/KETTLE_KEY",
        "/opt/kettle-host/current",
    ],
)
def test_cut_off_by_a_power_cut_it_is_completed(server: LabHost, first: Path, made: str) -> None:
    server.run("sync")
    with subprocess.Popen(
        server.command(PEX, "install"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ):
        server.shell(f"until ls -d {made} >/dev/null 2>&1; do :; done")
        server.crash()
    server.boot()
    server.put(first, PEX)
    server.run("rm", "-rf", "/root/.pex")  # As docs/servers.md says.
    install(server)
    start(server)
    assert answer(server) == {"schema": 1, "cups": 1}
    assert json.loads(install(server, "--json").stdout)["changes"] == []
    assert server.shell("ls -A /opt/kettle-host/releases").stdout.count("\n") == 1
