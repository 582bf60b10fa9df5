"""Trainings: started once, followed to their end."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_host.problems import Problem
from api_host.settings import ApiSettings
from api_host.trainings import check, run_id
from tests.api_host import airflow_server
from tests.api_host.airflow_server import AirflowServer
from tests.api_host.conftest import Start
from tests.hostile_orders import INERT, REFUSED

pytestmark = pytest.mark.anyio

TRAININGS = "/v1/trainings"
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)


@pytest.fixture
def airflow() -> Iterator[AirflowServer]:
    with airflow_server.running() as server:
        yield server


@pytest.fixture
def with_airflow(settings: ApiSettings, airflow: AirflowServer) -> ApiSettings:
    return settings.model_copy(update={"airflow_base_url": airflow.url})


@given(keys, keys)
def test_a_key_is_one_run(one: str, other: str) -> None:
    assert run_id(one) == run_id(one)
    assert (run_id(one) == run_id(other)) == (one == other)
    assert run_id(one).removeprefix("api-").isalnum()


def test_no_key_is_always_another_run() -> None:
    assert run_id(None) != run_id(None)


@pytest.mark.parametrize("key", ["", "  ", "x" * 256])
def test_some_keys_are_refused(key: str) -> None:
    with pytest.raises(Problem):
        run_id(key)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"margin": 0},
        {"model_name": "iris", "data_uri": "/data/x.csv", "target": "y", "margin": 0.5},
    ],
)
def test_good_parameters(document: dict[str, Any]) -> None:
    assert check(document) == document


def test_every_wrong_parameter_is_named() -> None:
    with pytest.raises(Problem) as problem:
        check({"model_name": 5, "margin": -1, "target": "", "data_url": "x", "data_uri": None})
    assert {mistake.pointer for mistake in problem.value.mistakes} == {
        "/model_name",
        "/margin",
        "/target",
        "/data_url",
        "/data_uri",
    }


@pytest.mark.parametrize("name", REFUSED)
def test_what_means_harm_is_refused_and_not_repeated_at_length(name: str) -> None:
    for value in REFUSED[name]:
        with pytest.raises(Problem) as problem:
            check({name: value})
        assert [mistake.pointer for mistake in problem.value.mistakes] == [f"/{name}"]
        assert len(str(problem.value)) < 1000


@pytest.mark.parametrize("document", INERT)
def test_what_only_looks_like_harm_is_a_name(document: dict[str, Any]) -> None:
    assert check(document) == document


async def test_a_training_from_start_to_end(
    start: Start, airflow: AirflowServer, with_airflow: ApiSettings
) -> None:
    async with start(with_airflow) as api:
        started = await api.post(
            TRAININGS, json={"model_name": "iris"}, headers={"X-Request-ID": "my-request"}
        )
        assert started.status_code == 202
        training = started.json()
        assert started.headers["Location"] == f"{TRAININGS}/{training['id']}"
        assert (training["state"], training["request_id"]) == ("queued", "my-request")
        run = airflow.runs[training["id"]]
        assert run["conf"] == {"model_name": "iris", "request_id": "my-request"}
        assert "my-request" in run["note"]

        run.update(state="success", start_date="2026-01-01T00:00:00Z")
        airflow.xcoms[training["id"], "promote", "return_value"] = {"promoted": True}
        done = (await api.get(started.headers["Location"])).json()
        assert (done["state"], done["result"]) == ("succeeded", {"promoted": True})
        assert done["started"] == "2026-01-01T00:00:00Z"


async def test_the_same_key_starts_one(
    start: Start, airflow: AirflowServer, with_airflow: ApiSettings
) -> None:
    async with start(with_airflow) as api:
        headers = {"Idempotency-Key": "nightly"}
        answers = [
            await api.post(TRAININGS, json={"margin": 0.1}, headers=headers) for _ in range(3)
        ]
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == len(airflow.runs) == 1
        other = await api.post(TRAININGS, json={"margin": 0.2}, headers=headers)
        assert (other.status_code, len(airflow.runs)) == (422, 1)
        assert other.json()["type"].endswith("idempotency-key-reused")


async def test_a_start_that_airflow_made_but_did_not_confirm_is_one_run(
    start: Start, airflow: AirflowServer, with_airflow: ApiSettings
) -> None:
    airflow.failures = [503]
    airflow.started_but_failed = True
    async with start(with_airflow) as api:
        answer = await api.post(TRAININGS)
        assert answer.status_code == 202
        assert list(airflow.runs) == [answer.json()["id"]]


async def test_why_a_training_failed(
    start: Start, airflow: AirflowServer, with_airflow: ApiSettings
) -> None:
    async with start(with_airflow) as api:
        started = await api.post(TRAININGS)
        training_id = started.json()["id"]
        airflow.runs[training_id]["state"] = "failed"
        airflow.failed_tasks = ["read_table"]
        failed = (await api.get(f"{TRAININGS}/{training_id}")).json()
        assert failed["state"] == "failed"
        assert "read_table" in failed["problem"]
        airflow.xcoms[training_id, "read_table", "problem"] = "there is no column 'specie'"
        failed = (await api.get(f"{TRAININGS}/{training_id}")).json()
        assert failed["problem"] == "there is no column 'specie'"


async def test_an_unknown_training(start: Start, with_airflow: ApiSettings) -> None:
    async with start(with_airflow) as api:
        for path in ("none", "x" * 300, "a%20b"):
            assert (await api.get(f"{TRAININGS}/{path}")).status_code == 404


async def test_airflow_is_away(start: Start, settings: ApiSettings) -> None:
    async with start(settings) as api:
        for answer in (await api.post(TRAININGS), await api.get(f"{TRAININGS}/some")):
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
            assert answer.json()["type"].endswith("airflow-away")
        assert (await api.get("/livez")).status_code == 200


async def test_tokens_are_renewed(
    start: Start, airflow: AirflowServer, with_airflow: ApiSettings
) -> None:
    async with start(with_airflow) as api:
        for _ in range(3):
            assert (await api.post(TRAININGS)).status_code == 202
        assert airflow.logins == 1
        airflow.token = "Airflow has new secrets"
        assert (await api.post(TRAININGS)).status_code == 202
        assert airflow.logins == 2
        airflow.token_seconds = 30  # Less than is left when a token is renewed.
        airflow.token = ""
        for _ in range(2):
            assert (await api.post(TRAININGS)).status_code == 202
        assert airflow.logins == 4


async def test_a_wrong_password_is_told(
    start: Start, airflow: AirflowServer, with_airflow: ApiSettings
) -> None:
    airflow.password = "another"
    async with start(with_airflow) as api:
        answer = await api.post(TRAININGS)
        assert answer.status_code == 503
        assert "AIRFLOW_PASSWORD" in answer.json()["detail"]


async def test_bad_gateways_are_asked_again_and_refusals_are_not(
    start: Start, airflow: AirflowServer, with_airflow: ApiSettings
) -> None:
    async with start(with_airflow) as api:
        airflow.failures = [502, 503]
        assert (await api.post(TRAININGS)).status_code == 202
        airflow.requests.clear()
        airflow.failures = [400]
        refused = await api.post(TRAININGS)
        assert (refused.status_code, len(airflow.requests)) == (422, 1)
        assert "told to fail" in refused.json()["detail"]
