"""Who may do what: keys and tokens, as callers of a host that knows them see it."""

import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from starlette.routing import Route
from structlog.testing import capture_logs

from api_host.app import ROUTES
from api_host.auth import keys, known
from api_host.auth.caller import Access, Rates
from api_host.auth.keys import Key, Keyring, Shown
from api_host.auth.needs import CHANGES, NEEDS, Open
from api_host.settings import ApiSettings
from tests.api_host import airflow_server
from tests.api_host.conftest import Start, until
from tests.api_host.registry_server import RegistryServer

pytestmark = pytest.mark.anyio

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
EVERYTHING = tuple(Access)


def make_key(path: Path, name: str, *access: Access, **members: Any) -> str:
    """The text of a key that is in the file."""
    number, text = keys.new_text()
    shown = Shown(number, keys.digest(text), members.pop("expires", None))
    members.setdefault("created", keys.now())
    Keyring(path).add(Key(name=name, access=access, current=shown, **members))
    return text


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def locked(settings: ApiSettings, file: Path) -> ApiSettings:
    """Settings of a host that asks for keys."""
    return settings.model_copy(update={"api_auth": "yes", "api_keys_file": file})


@pytest.fixture
def boss(file: Path) -> str:
    """A key that may do everything."""
    return make_key(file, "boss", *EVERYTHING)


@pytest.fixture
async def api(
    registry: RegistryServer, locked: ApiSettings, boss: str, start: Start, models: Path
) -> AsyncIterator[httpx.AsyncClient]:
    registry.promote("iris", models / "linear")
    registry.promote("churn", models / "linear")
    with airflow_server.running() as airflow:
        async with start(locked.model_copy(update={"airflow_base_url": airflow.url})) as client:

            async def is_served() -> bool:
                answer = await client.get("/v1/models", headers=bearer(boss))
                return [model["ready"] for model in answer.json()["models"]] == [True, True]

            await until(is_served)
            yield client


def asked(route: Route) -> tuple[str, str]:
    """A request that a route answers."""
    (method,) = (route.methods or set()) - {"HEAD"}
    path = route.path.replace("{name}", "iris").replace("{alias}", "champion")
    return method, path.replace("{version}", "1").replace("{id}", "one")


def assert_refused(answer: httpx.Response, status: int = 401) -> str:
    """The detail."""
    assert answer.status_code == status, answer.text
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="api-host"')
    assert ("insufficient_scope" in challenge) == (status == 403)
    document = answer.json()
    kind = {401: "unauthenticated", 403: "forbidden"}[status]
    assert document["type"] == f"urn:tripod:problem:{kind}"
    return str(document["detail"])


def test_every_route_says_what_it_needs_and_nothing_else_does() -> None:
    assert NEEDS.keys() == {route.path for route in ROUTES}
    assert CHANGES.keys() <= NEEDS.keys()


def test_only_three_paths_answer_strangers() -> None:
    open_paths = {path for path, need in NEEDS.items() if need is Open.TO_ALL}
    assert open_paths == {"/", "/livez", "/readyz"}


async def test_all_other_routes_refuse_those_who_show_nothing_or_anything_wrong(
    api: httpx.AsyncClient, boss: str
) -> None:
    wrong = boss[:-1] + ("0" if boss[-1] != "0" else "1")
    wrongs: list[dict[str, str]] = [
        {},
        bearer(wrong),
        bearer("eyJhbGciOiJub25lIn0.e30."),
        {"X-API-Key": wrong},
        {"X-API-Key": ""},
        {"Authorization": f"Basic {boss}"},
        {"Authorization": boss},
    ]
    for route in ROUTES:
        if NEEDS[route.path] is Open.TO_ALL:
            continue
        method, path = asked(route)
        for headers in wrongs:
            assert_refused(await api.request(method, path, headers=headers))
    assert_refused(await api.get("/no/such/path"))
    assert_refused(await api.put("/v1/trainings"))


async def test_each_access_opens_its_routes_and_no_others(
    api: httpx.AsyncClient, file: Path
) -> None:
    for access in Access:
        text = make_key(file, f"only-{access}", access)
        await until(partial(_is_known, api, text))
        for route in ROUTES:
            method, path = asked(route)
            answer = await api.request(method, path, headers=bearer(text))
            need = NEEDS[route.path]
            if isinstance(need, Open) or need is access:
                assert answer.status_code not in (401, 403), (path, answer.text)
            else:
                assert f"the access {need}" in assert_refused(answer, 403)


async def _is_known(api: httpx.AsyncClient, text: str) -> bool:
    return (await api.get("/version", headers=bearer(text))).is_success


async def _is_unknown(api: httpx.AsyncClient, text: str) -> bool:
    return (await api.get("/version", headers=bearer(text))).status_code == 401


async def test_a_key_is_taken_from_either_header_but_not_from_a_url(
    api: httpx.AsyncClient, boss: str
) -> None:
    for headers in (
        bearer(boss),
        {"Authorization": f"bearer {boss}"},
        {"X-API-Key": boss},
        {"Authorization": "Basic Zm9yOmEgcHJveHk=", "X-API-Key": boss},
        {"Authorization": f"Bearer {boss}", "X-API-Key": boss},
    ):
        assert (await api.get("/v1/models", headers=headers)).is_success
    for name in ("access_token", "api_key", "X-API-Key"):
        assert_refused(await api.get("/v1/models", params={name: boss}))
    both = {**bearer(boss), "X-API-Key": "another"}
    assert "more than one" in assert_refused(await api.get("/v1/models", headers=both))


async def test_strangers_learn_no_more_than_whether_it_is_healthy(
    api: httpx.AsyncClient, boss: str, file: Path
) -> None:
    assert (await api.get("/livez")).json() == {"status": "live"}
    assert (await api.get("/readyz", headers=bearer("nonsense"))).json() == {"status": "ready"}
    # Airflow is there, but it is another server's health that is asked for first.
    home = (await api.get("/")).json()
    assert home.keys() == {"status", "host"}
    assert home["host"] == "api-host"
    page = (await api.get("/", headers={"Accept": "text/html"})).text
    assert "iris" not in page
    assert "http" not in page
    assert (await api.get("/", headers=bearer(boss))).json()["models"]
    predictor = make_key(file, "predictor", Access.PREDICT)
    await until(lambda: _is_known(api, predictor))
    assert (await api.get("/", headers=bearer(predictor))).json().keys() == home.keys()


async def test_a_key_for_some_models_sees_and_asks_no_others(
    api: httpx.AsyncClient, file: Path
) -> None:
    text = make_key(file, "shop", *EVERYTHING, models=("iris",))
    await until(lambda: _is_known(api, text))
    headers = bearer(text)
    listed = (await api.get("/v1/models", headers=headers)).json()["models"]
    assert [model["name"] for model in listed] == ["iris"]
    index = (await api.post("/v2/repository/index", headers=headers)).json()
    assert [model["name"] for model in index] == ["iris"]
    assert (await api.get("/readyz", headers=headers)).json()["models"] == {"iris": "1"}
    document = (await api.get("/openapi.json", headers=headers)).text
    assert "iris.row" in document
    assert "churn" not in document
    assert "churn" not in (await api.get("/docs", headers=headers)).text
    answer = await api.post("/v1/models/iris/predict", json={"rows": [ROW]}, headers=headers)
    assert answer.json()["predictions"] == ["setosa"]
    # One of two: which /invocations asks is not in doubt for this caller.
    answer = await api.post("/invocations", json={"inputs": [ROW]}, headers=headers)
    assert answer.is_success, answer.text
    for route in ROUTES:
        if "{name}" in route.path:
            method, path = asked(route)
            there = await api.request(method, path.replace("iris", "churn"), headers=headers)
            absent = await api.request(method, path.replace("iris", "none"), headers=headers)
            assert assert_refused(there, 403) == assert_refused(absent, 403).replace(
                "none", "churn"
            )


async def test_a_key_for_some_models_trains_no_others(api: httpx.AsyncClient, file: Path) -> None:
    text = make_key(file, "shop", Access.TRAIN, models=("iris",))
    await until(lambda: _is_known(api, text))
    for order in ({}, {"model_name": "churn"}):
        answer = await api.post("/v1/trainings", json=order, headers=bearer(text))
        assert answer.status_code == 403
    answer = await api.post("/v1/trainings", json={"model_name": "iris"}, headers=bearer(text))
    assert answer.status_code == 202


async def test_a_revoked_or_rotated_key_is_refused_without_a_restart(
    api: httpx.AsyncClient, file: Path
) -> None:
    text = make_key(file, "shop", Access.PREDICT)
    await until(lambda: _is_known(api, text), seconds=60)
    number, new = keys.new_text()
    shown = Shown(number, keys.digest(new))
    Keyring(file).rotate("shop", shown, keep=timedelta(hours=1), moment=keys.now())
    await until(lambda: _is_known(api, new))
    assert await _is_known(api, text)
    Keyring(file).revoke("shop")
    await until(lambda: _is_unknown(api, new))
    assert await _is_unknown(api, text)
    file.unlink()  # noqa: ASYNC240 (a moment)


async def test_a_file_that_is_gone_holds_no_keys(
    api: httpx.AsyncClient, boss: str, file: Path
) -> None:
    file.unlink()  # noqa: ASYNC240 (a moment)
    await until(lambda: _is_unknown(api, boss))


async def test_a_key_that_has_expired_is_refused_and_told_so(
    api: httpx.AsyncClient, file: Path
) -> None:
    end = keys.now() - timedelta(seconds=1)
    text = make_key(file, "late", Access.PREDICT, expires=end)
    later = make_key(file, "later", Access.PREDICT)
    await until(lambda: _is_known(api, later))
    assert "has expired" in assert_refused(await api.get("/v1/models", headers=bearer(text)))


async def test_a_spoiled_file_keeps_the_last_good_keys_and_is_named(
    api: httpx.AsyncClient, boss: str, file: Path
) -> None:
    good = file.read_bytes()  # noqa: ASYNC240 (a moment)

    async def problems() -> list[str]:
        answer = await api.get("/", headers=bearer(boss))
        found: list[str] = answer.json()["auth_problems"]
        return found

    for spoiled in (b"", b"{", good[:-9], b'{"keys": [{"name": "x"}]}', b"[" * 100_000):
        file.write_bytes(spoiled)  # noqa: ASYNC240 (a moment)
        (problem,) = await until(problems)
        assert str(file) in problem
        assert (await api.get("/")).json()["status"] == "degraded"
    file.write_bytes(good)  # noqa: ASYNC240 (a moment)

    async def is_well() -> bool:
        return not await problems()

    await until(is_well)


async def test_no_key_and_no_token_is_in_a_log_an_answer_or_a_metric(
    api: httpx.AsyncClient, boss: str
) -> None:
    secret = boss.rpartition("_")[2]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    with capture_logs() as lines:
        answers = [
            await api.get(path, headers=bearer(text), params={"api_key": boss})
            for path in ("/v1/models", "/metrics", "/", "/no/such/path")
            for text in (boss, f"{boss}x", f"a.{boss}.b")
        ]
    assert all(secret not in answer.text + str(answer.headers) for answer in answers)
    assert lines
    assert secret not in json.dumps(lines, default=str)
    assert {line.get("caller") for line in lines} >= {"key:boss", "address:127.0.0.1"}


async def test_changes_and_refused_changes_are_audited(
    api: httpx.AsyncClient, boss: str, file: Path
) -> None:
    weak = make_key(file, "weak", Access.PREDICT)
    await until(lambda: _is_known(api, weak))
    load, unload = "/v2/repository/models/iris/load", "/v2/repository/models/iris/unload"
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    with capture_logs() as lines:
        training = (await api.post("/v1/trainings", headers=bearer(boss))).json()["id"]
        for path in (load, unload):
            await api.post(path, headers=bearer(boss))
        for path in ("/v1/trainings", load, unload):
            await api.post(path, headers=bearer(weak))
            await api.post(path)
    found = [
        (line["action"], line["on"], line["who"], line["allowed"])
        for line in lines
        if line["event"] == "audit"
    ]
    assert found == [
        ("training.start", f"training:{training}", "key:boss", True),
        ("model.load", "model:iris", "key:boss", True),
        ("model.unload", "model:iris", "key:boss", False),
        *(
            (action, on, who, False)
            for action, on in (
                ("training.start", "training"),
                ("model.load", "model:iris"),
                ("model.unload", "model:iris"),
            )
            for who in ("key:weak", "address:127.0.0.1")
        ),
    ]


async def test_refusals_are_counted_by_their_reason(api: httpx.AsyncClient, boss: str) -> None:
    await api.get("/v1/models")
    await api.get("/v1/models", headers={"X-API-Key": "x"})
    text = (await api.get("/metrics", headers=bearer(boss))).text
    for reason in ("nothing-shown", "unknown-key"):
        assert f'tripod_api_refused_callers_total{{reason="{reason}"}}' in text


async def test_a_body_is_not_read_before_its_caller_is_known(api: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    assert_refused(await api.post("/v1/models/iris/predict", content=body()))


async def test_without_auth_everybody_may_do_everything(
    settings: ApiSettings, start: Start, registry: RegistryServer, models: Path
) -> None:
    registry.promote("iris", models / "linear")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    async with start(settings) as api:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
        with capture_logs() as lines:
            assert (await api.get("/v1/models", headers=bearer("nonsense"))).is_success
            assert (await api.get("/metrics")).is_success
    assert [line["caller"] for line in lines if line["event"] == "request"] == (
        ["address:127.0.0.1"] * 2
    )


@pytest.mark.parametrize(
    ("settings_given", "auth"),
    [
        ({}, False),
        ({"api_host": "::1"}, False),
        ({"api_host": "0.0.0.0"}, True),
        ({"api_host": "0.0.0.0", "api_auth": "no"}, False),
        ({"api_public_url": "https://api.example.com"}, True),
        ({"api_public_url": "http://localhost:8000"}, False),
        ({"api_auth": "yes"}, True),
    ],
)
def test_keys_are_asked_for_where_others_can_reach_the_host(
    settings_given: dict[str, str], auth: bool
) -> None:
    assert ApiSettings(**settings_given).auth == auth  # type: ignore[arg-type]


def test_keys_keep_their_rates(file: Path) -> None:
    rates = Rates(requests=5, trainings=1)
    text = make_key(file, "shop", Access.PREDICT, rates=rates)
    caller = known.KnownKeys(file).find(text)
    assert caller is not None
    assert (caller.name, caller.rates, caller.models) == ("key:shop", rates, None)
