"""What goes wrong on three servers: clients hardly see it, and nothing is lost."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from lab import clock, faults
from lab.deadline import wait_for
from lab.deployment import Deployment
from lab.host import LabHost
from lab.load import Load, predicting
from lab.release import another
from tests.hosts.estate import RECOVER_SECONDS, ROWS, UNITS, Estate
from tests.hosts.fault_table import Row

CUT_SECONDS = 8.0
"""Longer than the API takes to look after its links, so that it notices."""

LOSS_SECONDS = 60.0

PAIRS = (("api", "mlflow"), ("api", "airflow"), ("airflow", "mlflow"))
SERVICES = {
    host: [unit for unit, where in UNITS.items() if where == host]
    for host in ("mlflow", "airflow", "api")
}
ONE_HOUR = 3600


@pytest.fixture
def estate(deployment: Deployment) -> Iterator[Estate]:
    """Three hosts that are well before a test, and mended after it."""
    estate = Estate(deployment)
    estate.wait_until_well()
    yield estate
    deployment.lab.network.repair()
    for host in deployment.lab.hosts.values():
        if not host.is_on:
            host.boot()
        host.disk.empty()


@contextmanager
def predicted_during(
    fault: str,
    estate: Estate,
    table: list[Row],
    is_over: Callable[[], bool] = lambda: True,
) -> Iterator[Load]:
    """Predicts during a block, and after it until all is well again; adds a row to the table.

    `is_over`: whether the fault has been noticed and mended; by default it ended with the block.
    """
    before = estate.inventory()
    with predicting(estate.lab, ROWS) as load:
        yield load
        end = time.monotonic()
        estate.wait_until_well(is_over)
        seconds = time.monotonic() - end
        wait_for(lambda: load.has_answered_since(end), RECOVER_SECONDS, "a prediction")
    lost = estate.inventory().lacks(before)
    table.append(Row(fault, load, seconds, lost))
    assert lost == "nothing"


def answers_with_a_problem(load: Load) -> list[str]:
    """The failures in which a server answered: one that is killed or unreachable does not."""
    return [problem for problem in load.failures if problem.startswith("HTTPStatusError")]


def last(seconds: float) -> None:
    """Lets a fault last."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= end, seconds + 1, "the end of the fault")


def assert_trained(estate: Estate, training: str) -> None:
    """A training that was hit by a fault came to its end, and made one version."""
    document = estate.wait_for_training(training)
    assert document["state"] == "succeeded", document
    version = document["result"]["model"]["version"]
    with estate.deployment.connect("mlflow") as mlflow:
        versions = mlflow.get("/api/2.0/mlflow/model-versions/search").raise_for_status().json()
    tagged = [
        found["version"]
        for found in versions["model_versions"]
        if {"key": "dag_run_id", "value": training} in found.get("tags", [])
    ]
    assert tagged == [version]


def main_process(estate: Estate, unit: str) -> int:
    """The process that a service is; 0 if there is none."""
    return int(estate.lab[UNITS[unit]].property_of(unit, "MainPID"))


def running_release(host: LabHost) -> str:
    """The folder of the release that a host's command is of."""
    return host.run("readlink", "/opt/api-host/current").stdout.strip()


@pytest.mark.parametrize("unit", UNITS)
def test_a_killed_process_is_back_soon_and_clients_of_others_do_not_notice(
    estate: Estate, fault_table: list[Row], unit: str
) -> None:
    before = main_process(estate, unit)

    def has_restarted() -> bool:
        return main_process(estate, unit) not in (before, 0)

    with predicted_during(f"kill -9 of {unit}", estate, fault_table, has_restarted) as load:
        faults.kill(estate.lab[UNITS[unit]], before)
    if unit == "api-host.service":
        assert answers_with_a_problem(load) == []
    else:
        assert load.failures == []


@pytest.mark.parametrize("unit", ["airflow-host-scheduler.service", "api-host.service"])
def test_a_process_that_stands_still_is_started_again_and_no_other(
    estate: Estate, fault_table: list[Row], unit: str
) -> None:
    host = estate.lab[UNITS[unit]]
    others = [other for other in UNITS if other != unit]
    before = main_process(estate, unit)
    running = [main_process(estate, other) for other in others]

    def has_restarted() -> bool:
        return main_process(estate, unit) not in (before, 0)

    with predicted_during(f"SIGSTOP of {unit}", estate, fault_table, has_restarted) as load:
        host.run("kill", "-STOP", str(before))
    assert "Watchdog timeout" in host.journal(unit, lines=20_000)
    assert [main_process(estate, other) for other in others] == running
    assert answers_with_a_problem(load) == []
    if unit != "api-host.service":
        assert load.failures == []


@pytest.mark.parametrize("name", ["mlflow", "airflow", "api"])
def test_a_training_goes_on_after_a_power_cut(
    estate: Estate, fault_table: list[Row], name: str
) -> None:
    training = estate.start_training()
    estate.wait_for_task(training, "train")
    host = estate.lab[name]
    with predicted_during(f"power cut of {name} during a training", estate, fault_table) as load:
        host.crash()
        host.boot(wait=False)
    assert_trained(estate, training)
    if name == "api":
        assert answers_with_a_problem(load) == []
    else:
        assert load.failures == []


def test_an_upload_that_a_power_cut_broke_off_can_be_made_again(
    estate: Estate, fault_table: list[Row]
) -> None:
    content = bytes(64 * 1024 * 1024)
    path = "/api/2.0/mlflow-artifacts/artifacts/faults/upload.bin"
    mlflow = estate.lab["mlflow"]

    def broken_off() -> Iterator[bytes]:
        yield content[: len(content) // 2]
        mlflow.crash()
        yield content[len(content) // 2 :]

    def is_said_to_be_there() -> bool:
        with estate.deployment.connect("mlflow") as client:
            try:
                return client.put(path, content=broken_off()).is_success
            except httpx.TransportError:
                return False

    with predicted_during("power cut of mlflow during an upload", estate, fault_table) as load:
        assert not is_said_to_be_there()
        mlflow.boot(wait=False)
    with estate.deployment.connect("mlflow") as client:
        client.put(path, content=content).raise_for_status()
        assert client.get(path).content == content
        client.delete(path).raise_for_status()
    assert load.failures == []


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
@pytest.mark.parametrize("way", ["both ways", "there", "back"])
def test_predictions_go_on_while_two_servers_do_not_reach_each_other(
    estate: Estate, fault_table: list[Row], pair: tuple[str, str], way: str
) -> None:
    here, there = pair if way != "back" else pair[::-1]
    between = f"{here} and {there}" if way == "both ways" else f"{here} to {there}"
    with (
        predicted_during(f"network cut, {between}", estate, fault_table) as load,
        faults.cut(estate.lab, here, there, one_way=way != "both ways"),
    ):
        last(CUT_SECONDS)
    assert load.failures == []


def test_a_training_gets_over_a_minute_in_which_a_third_of_all_packets_is_lost(
    estate: Estate, fault_table: list[Row]
) -> None:
    fault = "30 % of packets lost between all hosts for a minute of a training"
    with predicted_during(fault, estate, fault_table) as load:
        for here, there in PAIRS:
            estate.lab.network.lose(here, there, 30)
        training = estate.start_training()
        last(LOSS_SECONDS)
        estate.lab.network.calm()
    assert_trained(estate, training)
    assert load.failures == []


@pytest.mark.parametrize("name", ["mlflow", "airflow", "api"])
def test_a_full_disk_stops_no_prediction_and_is_got_over_when_there_is_room(
    estate: Estate, fault_table: list[Row], name: str
) -> None:
    with (
        predicted_during(f"full disk on {name}", estate, fault_table) as load,
        faults.full_disk(estate.lab[name]),
    ):
        last(CUT_SECONDS)
    assert_trained(estate, estate.start_training())
    assert load.failures == []


@pytest.mark.parametrize("name", ["mlflow", "airflow", "api"])
def test_a_clock_that_is_an_hour_wrong_stops_no_prediction(
    estate: Estate, fault_table: list[Row], name: str
) -> None:
    host = estate.lab[name]
    with (
        predicted_during(f"clock of {name} wrong by an hour", estate, fault_table) as load,
        clock.shifted(host, *SERVICES[name], seconds=ONE_HOUR),
    ):
        last(CUT_SECONDS)
    assert load.failures == []


def test_the_api_serves_its_last_good_copy_when_it_boots_without_mlflow(
    estate: Estate, fault_table: list[Row]
) -> None:
    mlflow, api = estate.lab["mlflow"], estate.lab["api"]
    with predicted_during("MLflow away when the API boots", estate, fault_table) as load:
        mlflow.crash()
        api.crash()
        api.boot()
        booted = time.monotonic()
        wait_for(lambda: load.has_answered_since(booted), RECOVER_SECONDS, "a prediction")
        mlflow.boot(wait=False)
    assert answers_with_a_problem(load) == []


def test_a_restart_of_the_api_loses_no_request(estate: Estate, fault_table: list[Row]) -> None:
    with predicted_during("restart of the API", estate, fault_table) as load:
        estate.lab["api"].systemctl("restart", "api-host")
    assert load.failures == []


def test_an_upgrade_of_the_api_and_its_rollback_lose_no_request(
    estate: Estate, fault_table: list[Row], tmp_path: Path
) -> None:
    release = another(estate.deployment.pex("api"), tmp_path / "another.pex")
    api = estate.lab["api"]
    api.put(release, "/root/another.pex")
    before = running_release(api)
    with predicted_during("upgrade of the API", estate, fault_table) as upgraded:
        api.run("/root/another.pex", "install")
    assert running_release(api) != before
    with predicted_during("rollback of the API", estate, fault_table) as rolled_back:
        api.run("api-host", "rollback", "--yes")
    assert running_release(api) == before
    assert upgraded.failures == []
    assert rolled_back.failures == []


def test_a_power_cut_in_the_middle_of_an_upgrade_of_the_api_leads_back(
    estate: Estate, fault_table: list[Row], tmp_path: Path
) -> None:
    api = estate.lab["api"]
    api.put(another(estate.deployment.pex("api"), tmp_path / "yet-another.pex"), "/root/third.pex")
    before = running_release(api)
    install = api.command("/root/third.pex", "install")
    with (
        predicted_during("power cut of api during its upgrade", estate, fault_table) as load,
        subprocess.Popen(install, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        assert any("starting api-host.service" in line for line in process.stderr)
        api.crash()
        api.boot(wait=False)
    assert running_release(api) == before
    assert not api.exists("/opt/api-host/upgrade.json")
    assert answers_with_a_problem(load) == []
