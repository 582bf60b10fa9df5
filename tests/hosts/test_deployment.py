"""Tripod on three servers: the way of a model as any client goes it, under the real units."""

from collections.abc import Iterator

import httpx
import pytest

from dev_hosts.journey import ServedModel, Version, predict, train, wait_until_served
from dev_hosts.progress import Progress
from lab.client import key_headers
from lab.deadline import wait_for
from lab.deployment import SERVERS, Deployment
from lab.load import predicting

RESTART_SECONDS = 120.0


@pytest.fixture
def api(deployment: Deployment) -> Iterator[httpx.Client]:
    with deployment.connect("api") as client:
        yield client


@pytest.fixture
def model(deployment: Deployment, api: httpx.Client) -> ServedModel:
    return ServedModel.model_validate_json(api.get("/v1/models/iris").content)


def test_every_unit_runs_and_none_has_failed(deployment: Deployment) -> None:
    for name, server in SERVERS.items():
        host = deployment.lab[name]
        assert host.is_active(server.unit)
        assert host.systemctl("is-enabled", server.unit) == "enabled"
        assert not host.failed_units()


def test_the_hosts_reach_each_other(api: httpx.Client) -> None:
    links = api.get("/").raise_for_status().json()["links"]
    assert {name: link["healthy"] for name, link in links.items()} == {
        "mlflow": True,
        "airflow": True,
    }


def test_a_model_is_trained_promoted_and_served(
    deployment: Deployment, api: httpx.Client, progress: Progress
) -> None:
    _, outcome = train(deployment, api, progress)
    champion = Version(name=outcome.model.name, version=outcome.champion.version)
    model = wait_until_served(deployment, api, champion, progress)
    answer = predict(api, model)
    assert answer.model == Version(name=model.name, version=model.version)
    assert len(answer.predictions) == len(model.example)


def test_any_machine_in_the_network_is_a_client(deployment: Deployment, model: ServedModel) -> None:
    url = deployment.lab["api"].url(8000, f"/v1/models/{model.name}")
    ((name, value),) = key_headers(deployment.lab).items()
    curl = ("curl", "--silent", "--fail", "--header", f"{name}: {value}")
    seen = deployment.lab.run(*curl, url).stdout
    assert deployment.lab.run(*curl[:3], url, check=False).returncode != 0
    assert ServedModel.model_validate_json(seen) == model


def test_secrets_are_for_root_and_in_no_process(deployment: Deployment) -> None:
    _, password = deployment.credentials
    assert len(password) >= 12
    for name, server in SERVERS.items():
        host = deployment.lab[name]
        listed = host.run("find", f"/etc/{server.product}/credentials", "-printf", "%m %U %y\n")
        assert set(listed.stdout.splitlines()) == {"700 0 d", "600 0 f"}
        seen = host.shell("cat /proc/[0-9]*/cmdline; systemctl show --property=Environment '*'")
        assert password not in seen.stdout


@pytest.mark.parametrize("keep_alive", [True, False], ids=["one connection", "a connection each"])
def test_a_restart_of_the_api_under_load_fails_no_request(
    deployment: Deployment, model: ServedModel, keep_alive: bool
) -> None:
    host = deployment.lab["api"]
    with predicting(deployment.lab, model.example, keep_alive=keep_alive) as load:
        wait_for(lambda: load.requests > 20, RESTART_SECONDS, "20 predictions")
        before = host.property_of("api-host.service", "MainPID")
        host.systemctl("restart", "api-host.service")
        assert host.property_of("api-host.service", "MainPID") != before
        count = load.requests
        wait_for(lambda: load.requests > count + 20, RESTART_SECONDS, "20 more predictions")
    assert not load.failures, str(load)
