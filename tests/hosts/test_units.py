"""The units on three hosts: ready, well, limited, and started again when they only look alive."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.client import connect
from lab.deployment import Deployment, set_variables
from lab.host import LabHost
from lab.load import asking, predicting
from tests.hosts.estate import ROWS, UNITS
from tests.hosts.grpc_caller import calling

SECONDS_TO_NOTICE = 240.0
"""The longest watchdog, what it needs to be sure, and a start on a busy machine."""

KILLED = re.compile("oom-kill|status=9/KILL")
"""What systemd says where memory is at an end; with version 1 cgroups it only sees the signal."""

API_ENV = "/etc/api-host/env"


def main_process(host: LabHost, unit: str) -> str:
    return host.property_of(unit, "MainPID")


def wait_for_another_process(host: LabHost, unit: str, before: str) -> None:
    host.wait_for(
        lambda: host.is_active(unit) and main_process(host, unit) not in {before, "0"},
        SECONDS_TO_NOTICE,
        f"another process of {unit}",
    )


@contextmanager
def limited(host: LabHost, unit: str, **properties: str) -> Iterator[None]:
    """Other limits for a moment, as an operator sets them."""
    words = [f"{name}={value}" for name, value in properties.items()]
    host.systemctl("set-property", "--runtime", unit, *words)
    try:
        yield
    finally:
        host.run("rm", "-rf", f"/run/systemd/system.control/{unit}.d")
        host.systemctl("daemon-reload")


@pytest.mark.parametrize(("unit", "name"), UNITS.items())
def test_a_service_runs_hardened_and_says_how_it_is(
    deployment: Deployment, unit: str, name: str
) -> None:
    host = deployment.lab[name]
    host.wait_for(lambda: host.is_active(unit), SECONDS_TO_NOTICE, unit)
    assert host.property_of(unit, "StatusText")
    assert host.property_of(unit, "CapabilityBoundingSet") == ""
    for key in ("NoNewPrivileges", "MemoryDenyWriteExecute", "PrivateUsers", "PrivateTmp"):
        assert host.property_of(unit, key) == "yes"
    assert host.property_of(unit, "ProtectSystem") == "strict"
    assert host.property_of(unit, "UMask") == "0077"


@pytest.mark.parametrize("name", ["airflow", "api", "mlflow"])
def test_no_secret_is_in_an_environment_or_an_argument(deployment: Deployment, name: str) -> None:
    host = deployment.lab[name]
    secrets = host.shell(f"cat /etc/{name}-host/credentials/*").stdout.split()
    seen = host.shell("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'").stdout
    assert seen
    assert [secret for secret in secrets if secret in seen] == []


def test_the_nightly_clean_up_removes_old_logs_and_no_others(deployment: Deployment) -> None:
    host, unit = deployment.lab["airflow"], "airflow-host-clean-logs.service"
    folder = "/var/lib/airflow-host/logs/dag_id=old"
    host.shell(
        f"install -d -o airflow-host -g airflow-host {folder};"
        f" for name in old new; do install -o airflow-host /dev/null {folder}/$name.log; done;"
        f" touch --date='1 year ago' {folder}/old.log"
    )
    host.systemctl("start", unit)
    assert host.property_of(unit, "Result") == "success"
    assert host.shell(f"ls {folder}").stdout.split() == ["new.log"]
    host.run("rm", "-r", folder)
    assert host.systemctl("is-enabled", unit.replace(".service", ".timer")) == "enabled"


def test_a_restart_of_the_api_server_ends_no_task(deployment: Deployment) -> None:
    host = deployment.lab["airflow"]
    scheduler = "airflow-host-scheduler.service"
    before = main_process(host, scheduler)
    host.systemctl("restart", "airflow-host-api-server.service")
    assert main_process(host, scheduler) == before
    assert host.is_active(scheduler)
    deployment.wait_until_ready("airflow")


def test_a_target_stops_and_starts_all_its_processes(deployment: Deployment) -> None:
    host = deployment.lab["airflow"]
    units = [unit for unit, name in UNITS.items() if name == "airflow"]
    host.systemctl("stop", "airflow-host.target")  # Which does not wait for what it stops.
    host.systemctl("stop", "airflow-host-*.service")
    assert [host.property_of(unit, "ActiveState") for unit in units] == ["inactive"] * len(units)
    host.systemctl("start", *units)
    assert all(host.is_active(unit) for unit in units)
    host.systemctl("start", "airflow-host.target")
    assert host.failed_units() == []
    deployment.wait_until_ready("airflow")


def test_a_reload_of_the_api_loses_no_request_and_keeps_its_process(
    deployment: Deployment,
) -> None:
    host, unit = deployment.lab["api"], "api-host.service"
    before = main_process(host, unit)
    with predicting(deployment.lab, ROWS, timeout=SECONDS_TO_NOTICE) as load:
        host.wait_for(lambda: load.requests > 20, SECONDS_TO_NOTICE, "the first answers")
        host.systemctl("reload", "api-host")
        host.wait_for(
            lambda: host.property_of(unit, "SubState") == "running", SECONDS_TO_NOTICE, "a reload"
        )
        deployment.wait_until_ready("api")
    assert load.failures == []
    assert main_process(host, unit) == before


def test_grpc_answers_and_loses_no_call_by_a_reload_or_a_restart(deployment: Deployment) -> None:
    host, unit = deployment.lab["api"], "api-host.service"
    set_variables(host, API_ENV, {"API_GRPC_PORT": "8001"})
    host.systemctl("daemon-reload")
    host.systemctl("restart", "api-host.socket", unit)
    try:
        with calling(deployment.lab, f"{host.address}:8001") as answers:
            host.systemctl("reload", unit)
            host.wait_for(
                lambda: host.property_of(unit, "SubState") == "running",
                SECONDS_TO_NOTICE,
                "a reload",
            )
            host.systemctl("restart", unit)
        assert answers.keys() == {"OK"}
    finally:
        set_variables(host, API_ENV, {"API_GRPC_PORT": ""})
        host.systemctl("daemon-reload")
        host.systemctl("restart", "api-host.socket", unit)
    deployment.wait_until_ready("api")


def test_a_restart_of_all_workers_loses_no_request(deployment: Deployment) -> None:
    host = deployment.lab["api"]
    set_variables(host, API_ENV, {"API_WORKERS": "2"})
    host.systemctl("daemon-reload")
    host.systemctl("restart", "api-host")
    try:
        host.wait_for(
            lambda: host.is_active("api-host@2.service"), SECONDS_TO_NOTICE, "the second worker"
        )
        with predicting(deployment.lab, ROWS, timeout=SECONDS_TO_NOTICE) as load:
            host.wait_for(lambda: load.requests > 20, SECONDS_TO_NOTICE, "the first answers")
            for _ in range(2):
                host.systemctl("restart", "api-host")
        assert load.failures == []
    finally:
        host.systemctl("stop", "api-host@2.service")
        set_variables(host, API_ENV, {"API_WORKERS": "1"})
        host.systemctl("daemon-reload")


def test_a_revoked_key_is_refused_within_two_seconds_and_only_root_changes_keys(
    deployment: Deployment,
) -> None:
    host = deployment.lab["api"]
    assert host.run("stat", "--format=%a %U %G", "/etc/api-host/keys.json").stdout == (
        "640 root api-host\n"
    )
    text = host.run("api-host", "keys", "add", "guest").stdout.strip()
    url = host.url(8000, "/v1/models")
    with connect(deployment.lab, headers={"Authorization": f"Bearer {text}"}) as client:
        host.wait_for(lambda: client.get(url).is_success, SECONDS_TO_NOTICE, "a new key")
        host.run("api-host", "keys", "revoke", "guest")
        revoked = time.monotonic()
        began = revoked
        while client.get(url).is_success:
            assert began < revoked + 2
            began = time.monotonic()
        assert client.get(url).status_code == 401
    audited = host.run("journalctl", "--identifier=api-host", "--output=cat").stdout
    assert '"key.revoke"' in audited
    assert text not in host.run("journalctl", "--output=export").stdout


def test_a_reload_with_wrong_settings_is_refused_and_all_goes_on(deployment: Deployment) -> None:
    host, unit = deployment.lab["api"], "api-host.service"
    before = main_process(host, unit)
    text = host.read(API_ENV)
    set_variables(host, API_ENV, {"API_PORT": "8001"})
    try:
        host.systemctl("reload", "api-host")
        host.wait_for(
            lambda: "reload refused" in host.journal(unit), SECONDS_TO_NOTICE, "a refusal"
        )
    finally:
        host.run("sh", "-c", f"cat > {API_ENV}", stdin=text)
    assert "systemctl restart api-host.socket" in host.journal(unit)
    assert main_process(host, unit) == before
    assert deployment.is_ready("api")


def test_mlflow_reads_its_env_file_again_without_a_refused_connection(
    deployment: Deployment,
) -> None:
    host, unit = deployment.lab["mlflow"], "mlflow-host.service"
    before = main_process(host, unit)
    account = deployment.account("mlflow")
    url = "http://mlflow:5000/api/2.0/mlflow/experiments/get?experiment_id=0"
    with asking(
        deployment.lab,
        lambda client: client.get(url, auth=account),
        timeout=SECONDS_TO_NOTICE,
    ) as load:
        host.wait_for(lambda: load.requests > 20, SECONDS_TO_NOTICE, "the first answers")
        host.systemctl("reload", "mlflow-host")
        host.wait_for(
            lambda: host.property_of(unit, "SubState") == "running", SECONDS_TO_NOTICE, "a reload"
        )
        deployment.wait_until_ready("mlflow")
    assert load.failures == []
    assert main_process(host, unit) == before


def test_a_memory_limit_ends_a_service_which_comes_back(deployment: Deployment) -> None:
    host, unit = deployment.lab["mlflow"], "mlflow-host.service"
    before = main_process(host, unit)
    with limited(host, unit, MemoryHigh="infinity", MemoryMax="48M"):
        host.systemctl("restart", unit, check=False)
        host.wait_for(
            lambda: bool(KILLED.search(host.journal(unit))), SECONDS_TO_NOTICE, "the end of memory"
        )
    wait_for_another_process(host, unit, before)
    deployment.wait_until_ready("mlflow")


def test_a_task_limit_bites(deployment: Deployment) -> None:
    host, unit = deployment.lab["api"], "api-host.service"
    group = host.property_of(unit, "ControlGroup")
    limit = int(host.property_of(unit, "TasksMax"))
    # A process of the service's control group that starts as many others as it can.
    script = f"""
        for group in /sys/fs/cgroup/pids{group} /sys/fs/cgroup{group}; do
          [ ! -e $group/pids.max ] || echo $$ > $group/cgroup.procs
        done
        for task in $(seq {limit}); do sleep 5 >/dev/null 2>&1 & done
    """
    ended = host.shell(script, check=False)
    assert ended.returncode != 0
    assert "Cannot fork" in ended.stderr
    deployment.wait_until_ready("api")
