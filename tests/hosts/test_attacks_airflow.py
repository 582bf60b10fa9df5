"""Attacks on Airflow's api-server in the lab, under its real unit."""

from collections.abc import Iterator

import pytest

from lab.deployment import SERVERS, Deployment
from tests.attacks import frameworks
from tests.attacks.frameworks import files_elsewhere, guesses, without_account
from tests.attacks.honest import Honest, repeating
from tests.attacks.smuggling import SECRET, TRICKS, tried
from tests.attacks.table import Row, printed, witnessed
from tests.attacks.target import Attack
from tests.hosts.service import Service, asked_since, basic, enduring

UNIT = "airflow-host-api-server.service"

ATTACKS: dict[str, Attack] = {
    **frameworks.ATTACKS,
    **{name: tried(trick) for name, trick in TRICKS.items()},
    "DAGs, connections and variables, and no account": without_account(
        (
            "/api/v2/dags",
            "/api/v2/connections",
            "/api/v2/variables",
            "/api/v2/dagSources/train_model",
            "/ui/config",
            "/auth/fab/v1/users",
        )
    ),
    "files of the server": files_elsewhere(
        (
            "/static/",
            "/auth/static/",
            "/api/v2/dags/",
            "/api/v2/dagSources/",
            "/api/v2/dags/train_model/dagRuns/x/taskInstances/",
            "/api/v2/dags/train_model/dagRuns/~/taskInstances/~/logs/1?map_index=",
        )
    ),
    "guesses of a password": guesses(
        "POST", "/auth/token", lambda guess: {"json": {"username": "airflow", "password": guess}}
    ),
}


@pytest.fixture(scope="module")
def target(deployment: Deployment) -> Iterator[Service]:
    """Airflow, for the user that the API is."""
    password = deployment.lab["airflow"].read("/etc/airflow-host/credentials/AIRFLOW_API_PASSWORD")
    shown = basic("api", password.strip())
    task, page = "/api/v2/dags/train_model/dagRuns", "/api/v2/dags"
    port = SERVERS["airflow"].port
    with enduring(Service(deployment, "airflow", UNIT, port, task, page, shown)) as target:
        yield target


@pytest.fixture(scope="module")
def honest(target: Service) -> Iterator[Honest]:
    """Who reads which trainings there were, as the API does."""
    with (
        target.client() as client,
        repeating(client, client.build_request("GET", target.task), "answers") as honest,
    ):
        yield honest


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("On Airflow, under its unit", ATTACKS, pytestconfig) as rows:
        yield rows


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.usefixtures("asked_before")
def test_an_attack_is_met_and_others_are_served(
    target: Service, honest: Honest, table: list[Row], name: str
) -> None:
    table.append(witnessed(name, ATTACKS[name], target, honest))


def test_nothing_that_was_hidden_was_asked_for(target: Service, asked_before: int) -> None:
    assert asked_since(target, SECRET, asked_before) == 0
