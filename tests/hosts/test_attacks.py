"""Attacks on the API of the lab, under its real unit, by somebody who has a key."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.client import key_headers
from lab.deployment import SERVERS, Deployment
from tests.attacks import http2, installed
from tests.attacks.connections import AT_ONCE_BY_HTTP2, cut_off, half_a_body, held, slowly
from tests.attacks.honest import Honest, predicting
from tests.attacks.smuggling import SECRET, TRICKS, tried
from tests.attacks.table import Row, printed, witnessed
from tests.attacks.target import Attack
from tests.hosts.service import Service, asked_since, enduring, key_of_its_own

ATTACKS: dict[str, Attack] = {
    **installed.ATTACKS,
    "headers that nobody ends": cut_off(slowly),
    "a body that nobody ends": cut_off(half_a_body),
    **{name: cut_off(words) for name, words in http2.FLOODS.items()},
    **{name: held(words, AT_ONCE_BY_HTTP2) for name, words in http2.QUIET.items()},
    **{name: tried(trick) for name, trick in TRICKS.items()},
}


@pytest.fixture(scope="module")
def target(deployment: Deployment) -> Iterator[Service]:
    """The API, for somebody who has a key of its own, and so shares of its own."""
    api = SERVERS["api"]
    task, page = "/v1/models/iris/predict", "/openapi.json"
    with (
        key_of_its_own(deployment) as shown,
        enduring(Service(deployment, "api", api.unit, api.port, task, page, shown)) as target,
    ):
        yield target


@pytest.fixture(scope="module")
def honest(target: Service) -> Iterator[Honest]:
    with replace(target, shown=key_headers(target.lab)).client() as client:
        rows = client.get("/v1/models/iris").json()["example"]
        with predicting(client, target.task, {"rows": rows}) as honest:
            yield honest


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("On what is installed, under its unit", ATTACKS, pytestconfig) as rows:
        yield rows


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.usefixtures("asked_before")
def test_an_attack_is_met_and_others_are_served(
    target: Service, honest: Honest, table: list[Row], name: str
) -> None:
    table.append(witnessed(name, ATTACKS[name], target, honest))


def test_nothing_that_was_hidden_was_asked_for(target: Service, asked_before: int) -> None:
    assert asked_since(target, SECRET, asked_before) == 0
