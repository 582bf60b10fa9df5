"""Attacks on MLflow in the lab, under its real unit, by strangers and by whom it knows."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.deployment import SERVERS, Deployment
from tests.attacks import frameworks
from tests.attacks.frameworks import files_elsewhere, guesses, without_account
from tests.attacks.honest import Honest, repeating
from tests.attacks.smuggling import SECRET, TRICKS, tried
from tests.attacks.table import Row, printed, witnessed
from tests.attacks.target import Attack
from tests.hosts.service import Service, asked_since, basic, enduring

MODELS = "/api/2.0/mlflow/registered-models/search"

ATTACKS: dict[str, Attack] = {
    **frameworks.ATTACKS,
    **{name: tried(trick) for name, trick in TRICKS.items()},
    "pages and models, and no account": without_account(
        (
            "/",
            "/version",
            "/metrics",
            "/graphql",
            "/static-files/",
            "/api/2.0/mlflow/registered-models/search",
            "/api/2.0/mlflow-artifacts/artifacts",
            "/get-artifact?run_uuid=x&path=y",
        )
    ),
    "files of the server": files_elsewhere(
        (
            "/",
            "/static-files/",
            "/api/2.0/mlflow-artifacts/artifacts/",
            "/api/2.0/mlflow-artifacts/artifacts?path=",
            "/get-artifact?run_uuid=x&path=",
            "/model-versions/get-artifact?name=iris&version=1&path=",
        )
    ),
    "guesses of a password": guesses(
        "GET", "/version", lambda guess: {"headers": basic("admin", guess)}
    ),
}


@pytest.fixture(scope="module")
def target(deployment: Deployment) -> Iterator[Service]:
    """MLflow, for its admin: what is refused then is refused to everybody."""
    mlflow = SERVERS["mlflow"]
    password = deployment.lab["mlflow"].read(
        "/etc/mlflow-host/credentials/MLFLOW_AUTH_ADMIN_PASSWORD"
    )
    shown = basic("admin", password.strip())
    task, page = "/api/2.0/mlflow/experiments/search", "/"
    service = Service(deployment, "mlflow", mlflow.unit, mlflow.port, task, page, shown)
    with enduring(service) as target:
        yield target


@pytest.fixture(scope="module")
def honest(target: Service) -> Iterator[Honest]:
    """Who reads which models there are, as the API does."""
    password = target.lab["api"].read("/etc/api-host/credentials/MLFLOW_TRACKING_PASSWORD")
    with (
        replace(target, shown=basic("api", password.strip())).client() as client,
        repeating(client, client.build_request("GET", MODELS), "answers") as honest,
    ):
        yield honest


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("On MLflow, under its unit", ATTACKS, pytestconfig) as rows:
        yield rows


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.usefixtures("asked_before")
def test_an_attack_is_met_and_others_are_served(
    target: Service, honest: Honest, table: list[Row], name: str
) -> None:
    table.append(witnessed(name, ATTACKS[name], target, honest))


def test_nothing_that_was_hidden_was_asked_for(target: Service, asked_before: int) -> None:
    assert asked_since(target, SECRET, asked_before) == 0
