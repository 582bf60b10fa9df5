"""Upgrade and rollback, and everything that can go wrong with them, on a real systemd."""

import json
import subprocess
from pathlib import Path

import pytest

from lab.host import LabHost
from lab.lab import Lab
from lab.release import another
from tests.hosts import kettle

VARIANTS: dict[str, dict[str, str | int]] = {
    "first": {},
    "second": {"SCHEMA": 2},
    "third": {"SCHEMA": 3},
    "same-schema": {"NOTE": "another release with the same schema"},
    "fails-to-migrate": {"SCHEMA": 2, "MIGRATE": "fails"},
    "breaks-the-database": {"SCHEMA": 2, "MIGRATE": "breaks"},
    "crashes": {"SCHEMA": 2, "SERVE": "crashes"},
    "hangs": {"SCHEMA": 2, "SERVE": "hangs"},
}


@pytest.fixture(scope="module")
def pexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Releases of the kettle."""
    folder = tmp_path_factory.mktemp("kettle")
    return {
        name: kettle.build(folder / f"{name}.pex", kettle.host_pex(), **variant)
        for name, variant in VARIANTS.items()
    }


@pytest.fixture
def server(lab: Lab, pexes: dict[str, Path]) -> LabHost:
    """A server on which the first release runs, and has been asked once."""
    server = lab["airflow"]
    if server.exists("/usr/local/bin/kettle-host"):
        server.run("kettle-host", "uninstall", "--purge", "--yes")
    for name, pex in pexes.items():
        server.put(pex, f"/root/{name}.pex")
    server.run("/root/first.pex", "install")
    server.shell("sed -i s/OWNER=.*/OWNER=me/ /etc/kettle-host/env")
    server.systemctl("enable", "--now", "kettle-host")
    assert answer(server) == {"schema": 1, "cups": 1}
    return server


def install(server: LabHost, name: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return server.run(f"/root/{name}.pex", "install", check=check)


def answer(server: LabHost) -> dict[str, int]:
    found: dict[str, int] = json.loads(server.run("curl", "-sS", "http://127.0.0.1:7000/").stdout)
    return found


def running(server: LabHost) -> str:
    return server.run("readlink", "/opt/kettle-host/current").stdout.strip()


def record(server: LabHost) -> dict[str, str | None]:
    found: dict[str, str | None] = json.loads(server.read("/opt/kettle-host/current/release.json"))
    return found


def test_an_upgrade_keeps_the_data_and_a_rollback_tells_what_is_lost(server: LabHost) -> None:
    before = running(server)
    install(server, "second")
    assert answer(server) == {"schema": 2, "cups": 2}
    assert record(server)["previous"] == before.removeprefix("releases/")
    backup = record(server)["backup"]
    assert backup is not None
    assert backup.startswith("/var/backups/kettle-host/")
    asked = server.run("kettle-host", "rollback", stdin="n\n", check=False)
    assert asked.returncode == 1
    assert f"it is restored from {backup}. What was written since" in asked.stdout
    assert answer(server) == {"schema": 2, "cups": 3}
    server.run("kettle-host", "rollback", "--yes")
    assert running(server) == before
    assert answer(server) == {"schema": 1, "cups": 2}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fails-to-migrate", "error: 'migrate --json' failed: this cannot be migrated"),
        ("breaks-the-database", "error: 'migrate --json' failed: it ended with"),
        ("crashes", "error: kettle-host.service ended again and again"),
        ("hangs", "error: kettle-host.service did not get ready in time"),
    ],
)
def test_an_upgrade_that_fails_goes_back(server: LabHost, name: str, reason: str) -> None:
    before = running(server)
    done = install(server, name, check=False)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "so this server went back to the release" in done.stderr
    assert ("the kettle is dry" in done.stderr) == (name == "crashes")
    assert running(server) == before
    assert answer(server) == {"schema": 1, "cups": 2}
    assert not server.exists("/opt/kettle-host/upgrade.json")
    assert server.shell("ls /opt/kettle-host/releases").stdout.count("\n") == 1


def test_an_upgrade_that_finds_the_disk_full_goes_back(server: LabHost) -> None:
    before = running(server)
    server.disk.fill(free=40 * 1024 * 1024)
    try:
        done = install(server, "second", check=False)
    finally:
        server.disk.empty()
    assert done.returncode == 1
    assert "MiB free, and the release needs" in done.stderr
    assert running(server) == before
    assert answer(server) == {"schema": 1, "cups": 2}


def test_settings_that_the_release_cannot_use_stop_an_upgrade_before_it_begins(
    server: LabHost,
) -> None:
    server.shell("sed -i s/OWNER=.*/OWNER=/ /etc/kettle-host/env")
    since = server.property_of("kettle-host.service", "ActiveEnterTimestamp")
    done = install(server, "second", check=False)
    assert "KETTLE_OWNER is not set" in done.stderr
    assert server.property_of("kettle-host.service", "ActiveEnterTimestamp") == since
    assert answer(server) == {"schema": 1, "cups": 2}


def test_a_host_that_is_stopped_stays_so_and_is_ready_to_start(server: LabHost) -> None:
    server.systemctl("stop", "kettle-host")
    install(server, "second")
    assert not server.is_active("kettle-host.service")
    server.systemctl("start", "kettle-host")
    assert answer(server) == {"schema": 2, "cups": 2}


def test_the_way_back_leads_over_several_releases(server: LabHost) -> None:
    before = running(server)
    for name in ("second", "third"):
        install(server, name)
    assert answer(server) == {"schema": 3, "cups": 2}
    server.run("kettle-host", "rollback", "--yes", "--to", before.removeprefix("releases/")[:6])
    assert answer(server) == {"schema": 1, "cups": 2}


def test_where_no_migration_was_needed_nothing_is_lost(server: LabHost) -> None:
    install(server, "same-schema")
    assert record(server)["backup"] is None
    assert answer(server) == {"schema": 1, "cups": 2}
    told = server.run("kettle-host", "rollback", "--yes").stdout
    assert "the database stays as it is" in told
    assert answer(server) == {"schema": 1, "cups": 3}


@pytest.mark.parametrize(
    "moment",
    [
        "stopping kettle-host.service",
        "making a backup",
        "bringing the database up",
        "starting kettle-host.service",
    ],
)
def test_a_power_cut_in_the_middle_of_an_upgrade(server: LabHost, moment: str) -> None:
    server.run("sync")
    before = running(server)
    with subprocess.Popen(
        server.command("/root/hangs.pex", "install"), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any(moment in line for line in process.stderr)
        server.crash()
    assert server.boot() == "running"
    server.wait_for(lambda: server.is_active("kettle-host.service"), what="the kettle")
    assert running(server) == before
    assert answer(server) == {"schema": 1, "cups": 2}
    assert not server.exists("/opt/kettle-host/upgrade.json")
    install(server, "second")
    assert answer(server) == {"schema": 2, "cups": 3}


def test_what_kill_interrupts_the_next_install_puts_right(server: LabHost) -> None:
    with subprocess.Popen(
        server.command("/root/hangs.pex", "install"), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any("starting kettle-host.service" in line for line in process.stderr)
        server.run("pkill", "--signal", "KILL", "--full", "pex install")
    assert server.exists("/opt/kettle-host/upgrade.json")
    status = server.run("kettle-host", "status", check=False)
    assert "An upgrade was interrupted" in status.stdout
    install(server, "second")
    assert answer(server) == {"schema": 2, "cups": 2}


SETTINGS = {
    "mlflow-host": "MLFLOW_PUBLIC_URL=http://mlflow:5000",
    "airflow-host": "AIRFLOW_PUBLIC_URL=http://airflow:8080\nAPI_SERVER_URL=http://api:8000\n"
    "MLFLOW_TRACKING_URI=http://mlflow:5000",
}


@pytest.mark.parametrize("host", SETTINGS)
def test_a_real_host_is_made_ready_and_upgraded(lab: Lab, host: str, tmp_path: Path) -> None:
    name = f"{host.replace('-', '_')}.pex"
    for number in range(3):
        release = another(kettle.host_pex(name), tmp_path / f"{number}.pex")
        lab["api"].put(release, f"/root/{release.name}")
    server = lab["api"]
    server.run("/root/0.pex", "install", seconds=900)
    server.write(f"/etc/{host}/env", SETTINGS[host], mode="640")
    password = f"/etc/{host}/credentials/AIRFLOW_PASSWORD"
    if server.exists(password):
        server.write(password, "a long enough password", mode="600")
    try:
        # It never ran: the upgrade makes its database.
        server.run("/root/1.pex", "install", seconds=900)
        backup = json.loads(server.read(f"/opt/{host}/current/release.json"))["backup"]
        assert json.loads(server.read(f"{backup}/manifest.json"))["database"] == "absent"
        # By hand, as root, it leaves nothing that the service cannot write.
        assert json.loads(server.run(host, "migrate", "--json").stdout) == {"changed": False}
        assert server.shell(f"find /var/lib/{host} ! -user {host}").stdout == ""
        server.systemctl("enable", host if host == "mlflow-host" else f"{host}.target")
        server.systemctl("start", host if host == "mlflow-host" else f"{host}.target")
        server.wait_for(lambda: server.run(host, "status", check=False).returncode == 0, 600, host)
        server.run("/root/2.pex", "install", seconds=900)
        assert server.run(host, "status", check=False).returncode == 0
        assert json.loads(server.read(f"/opt/{host}/current/release.json"))["backup"] is None
        server.run(host, "rollback", "--yes", seconds=900)
        assert server.run(host, "status", check=False).returncode == 0
    finally:
        server.run(host, "uninstall", "--purge", "--yes")
