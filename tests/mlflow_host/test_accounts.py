"""Who may do what: by real requests and MLflow's own client, with the accounts that hosts have."""

import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import mlflow
import pytest
from mlflow.exceptions import MlflowException

from tests.late_bodies import begun, told_without_an_end
from tests.mlflow_host.accounts import PASSWORD, Protected, names, run, start_protected

# MLflow warns its own developers.
pytestmark = pytest.mark.filterwarnings("ignore")

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
OPEN = {("GET", "/health")}

Routes = set[tuple[str, str]]


def twice(model_input: list[float]) -> list[float]:
    """A model."""
    return [2 * number for number in model_input]


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protected]:
    found = start_protected(tmp_path_factory.mktemp("protected"))
    yield found
    found.host.process.kill()
    found.host.process.wait()


@pytest.fixture(scope="module")
def routes() -> Routes:
    """Every method and path that MLflow answers."""
    import mlflow.server.auth.routes as own  # noqa: PLC0415
    from mlflow.server import app as flask  # noqa: PLC0415
    from mlflow.server.fastapi_app import app as fastapi  # noqa: PLC0415

    found = {
        (method, rule.rule)
        for rule in flask.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    for included in fastapi.routes:
        router: Any = getattr(included, "original_router", None)
        if router is not None:
            prefix = included.include_context.prefix
            found |= {(method, f"{prefix}{r.path}") for r in router.routes for method in r.methods}
    paths = {path for path in vars(own).values() if isinstance(path, str) and path[:1] == "/"}
    found |= {(method, path) for path in paths for method in ("GET", "POST", "PATCH", "DELETE")}
    found.add(("GET", "/metrics"))
    return {(method, re.sub(r"<[^>]*>|{[^}]*}", "1", path)) for method, path in found}


@pytest.fixture(scope="module")
def version(protected: Protected) -> str:
    """The path of the artifacts of a version that Airflow's account trained and registered."""
    with protected.mlflow("airflow") as client:
        mlflow.set_experiment("training")
        with mlflow.start_run():
            mlflow.log_metric("accuracy", 0.9)
            mlflow.pyfunc.log_model(
                name="model",
                python_model=twice,
                pip_requirements=["mlflow"],
                registered_model_name="iris",
            )
        client.set_registered_model_alias("iris", "champion", "1")
        return client.get_model_version_download_uri("iris", "1").removeprefix("mlflow-artifacts:/")


def refused(do: Callable[[], object]) -> bool:
    """Whether MLflow's client is told that its account may not do this."""
    try:
        do()
    except MlflowException as error:
        return "403" in str(error)
    return False


def test_without_an_account_only_the_health_answers(protected: Protected, routes: Routes) -> None:
    assert {"/v1/traces", "/graphql", "/metrics"} <= {path for _, path in routes}
    assert len(routes) > 300
    with httpx.Client(base_url=protected.host.url, timeout=60) as client:
        answered = {
            (method, path)
            for method, path in routes
            if client.request(method, path).status_code != 401
        }
    assert answered == OPEN


@pytest.mark.parametrize(
    "path", ["/health/x", "/healthz", "/static-files/index.html", "/%2fhealth"]
)
def test_nothing_hides_beside_the_health(protected: Protected, path: str) -> None:
    assert httpx.get(f"{protected.host.url}{path}").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Basic")],
        [("Authorization", "Bearer YWRtaW46eA==")],
        [("Authorization", "Basic YWRtaW46")],
        [("Authorization", "Basic !!!!")],
        [("Authorization", "Basic YWRtaW4=")],
        [("X-MLflow-Authorization", "{right}")],
        [("Authorization", "{right}"), ("Authorization", "{right}")],
        [("Authorization", "{right}!")],
        [("Proxy-Authorization", "{right}")],
    ],
)
def test_what_is_no_plain_account_is_refused(
    protected: Protected, headers: list[tuple[str, str]]
) -> None:
    pair = f"rob:{protected.passwords['rob']}".encode()
    right = f"Basic {b64encode(pair).decode()}"
    given = [(name, value.replace("{right}", right)) for name, value in headers]
    answer = httpx.get(f"{protected.host.url}/version", headers=given, timeout=60)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert httpx.get(f"{protected.host.url}/version", headers={"Authorization": right}).is_success


def test_a_browser_with_an_account_gets_the_ui(protected: Protected) -> None:
    with protected.client("rob") as client:
        page = client.get("/")
        assert "<title>MLflow</title>" in page.text
        script = re.search(r'src="\.?/?(static-files/[^"]+\.js)"', page.text)
        assert script
        assert client.get(f"/{script[1]}").is_success
        assert '"rob"' in client.get("/ajax-api/2.0/mlflow/users/current").text
        assert client.post("/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 5})


def test_the_api_reads_what_airflow_registered_a_moment_ago(
    protected: Protected, version: str
) -> None:
    with protected.mlflow("api") as client:
        found = client.get_model_version_by_alias("iris", "champion")
        assert [model.name for model in client.search_registered_models()] == ["iris"]
    with protected.client("api") as api:
        assert api.get(f"{ARTIFACTS}/{version}/MLmodel").is_success
        files = api.get(ARTIFACTS, params={"path": version}).json()["files"]
        assert "MLmodel" in {file["path"] for file in files}
        run = api.get(f"{API}/runs/get", params={"run_id": found.run_id}).json()["run"]
        assert run["data"]["metrics"][0]["value"] == 0.9


def test_the_api_may_do_nothing_else(protected: Protected, version: str, routes: Routes) -> None:
    with protected.client("api") as api:
        answered = {
            (method, re.sub(r"/(ajax-)?api/2.0/", "", path))
            for method, path in routes
            if api.request(method, path).status_code != 403
        }
        assert answered - OPEN == {
            ("GET", "mlflow/registered-models/get"),
            ("GET", "mlflow/registered-models/search"),
            ("GET", "mlflow/registered-models/alias"),
            ("GET", "mlflow/model-versions/get"),
            ("GET", "mlflow/model-versions/search"),
            ("GET", "mlflow/model-versions/get-download-uri"),
            ("GET", "/version"),
        }
        assert api.put(f"{ARTIFACTS}/{version}/MLmodel", content=b"x").status_code == 403


def test_the_api_reads_no_file_and_no_run_that_no_model_has(
    protected: Protected, version: str
) -> None:
    with protected.mlflow("ann") as client:
        experiment = client.create_experiment("of ann")
        run = client.create_run(experiment).info.run_id
        client.log_text(run, "secret", "notes.txt")
    path = f"{experiment}/{run}/artifacts/notes.txt"
    with protected.client("ann") as ann:
        assert ann.get(f"{ARTIFACTS}/{path}").text == "secret"
    up = "/".join([".."] * version.count("/") + [".."])
    with protected.client("api") as api:
        for file in (
            path,
            f"{version}/{up}/{path}",
            f"{version}/{up.replace('/', '%2f')}%2f{path}",
            f"{version}/%252e%252e/{path}",
            f"{version}x/MLmodel",
        ):
            request = api.build_request("GET", "/")
            request.url = httpx.URL(f"{protected.host.url}{ARTIFACTS}/{file}")
            assert api.send(request).status_code == 403, file
        for folder in ("", experiment, f"{experiment}/{run}/artifacts", f"{version}/../.."):
            assert api.get(ARTIFACTS, params={"path": folder}).status_code == 403, folder
        for query in (f"run_id={run}", f"run_uuid={run}", ""):
            assert api.get(f"{API}/runs/get?{query}").status_code == 403


def test_airflow_changes_only_what_it_made(protected: Protected, version: str) -> None:
    with protected.mlflow("ann") as ann:
        experiment = ann.create_experiment("an experiment of a person")
        ann.create_registered_model("churn")
    with protected.mlflow("airflow") as airflow:
        assert refused(lambda: airflow.delete_experiment(experiment))
        assert refused(lambda: airflow.rename_experiment(experiment, "mine"))
        assert refused(lambda: airflow.create_run(experiment))
        assert refused(lambda: airflow.create_model_version("churn", "mlflow-artifacts:/x"))
        assert refused(lambda: airflow.delete_registered_model("churn"))
        airflow.set_registered_model_tag("iris", "by", "airflow")
        airflow.delete_experiment(airflow.create_experiment("its own"))
    with protected.client("airflow") as client:
        for path in ("users/create", "users/permissions/grant", "roles/create", "webhooks"):
            assert client.post(f"{API}/{path}", json={"username": "x"}).status_code == 403


def test_people_change_what_their_role_says(protected: Protected, version: str) -> None:
    with protected.mlflow("ann") as ann:
        ann.update_registered_model("iris", "flowers")
        assert refused(lambda: ann.delete_registered_model("iris"))
    with protected.mlflow("rob") as rob:
        assert rob.get_registered_model("iris").description == "flowers"
        assert rob.search_experiments()
        assert refused(lambda: rob.create_experiment("of rob"))
        assert refused(lambda: rob.create_registered_model("of rob"))
        assert refused(lambda: rob.set_registered_model_alias("iris", "champion", "1"))


def test_a_reader_sends_no_request_that_changes_something(
    protected: Protected, routes: Routes
) -> None:
    with protected.client("rob") as rob:
        answered = {
            path.rsplit("/mlflow/")[-1]
            for method, path in routes
            if method != "GET" and rob.request(method, path).status_code != 403
        }
    assert answered <= {
        "/graphql",
        "experiments/search-datasets",
        "registered-models/get-latest-versions",
        "users/update-password",
        "ui-telemetry",
        *(f"{kind}/search" for kind in ("experiments", "runs", "logged-models", "traces")),
        *(f"{kind}/search" for kind in ("datasets", "issues", "prompt-optimization/jobs")),
        "traces/metrics",
        "traces/calculate-filter-correlation",
    }


def test_prometheus_has_an_account_for_metrics_alone(protected: Protected) -> None:
    with protected.client("metrics") as client:
        assert "tripod_mlflow_protected 1.0" in client.get("/metrics").text
        assert client.get(f"{API}/registered-models/search").status_code == 403
    with protected.client("airflow") as client:
        assert client.get("/metrics").status_code == 403


def test_an_account_that_is_known_costs_little(protected: Protected) -> None:
    with protected.client("api") as client:
        assert client.get("/version").is_success
        durations = []
        for _ in range(50):
            start = time.perf_counter()
            assert client.get("/version").is_success
            durations.append(time.perf_counter() - start)
    hashed = 0.1  # Seconds, and more: what each would take if the password were hashed again.
    assert sorted(durations)[len(durations) // 2] < hashed


def test_a_password_that_was_changed_or_an_account_that_is_gone_is_refused_soon(
    protected: Protected,
) -> None:
    users = protected.users()
    users.add("eve", "reader", PASSWORD)

    def status(password: str) -> int:
        url = f"{protected.host.url}/version"
        return httpx.get(url, auth=("eve", password), timeout=60).status_code

    assert status(PASSWORD) == 200
    users.set_password("eve", f"{PASSWORD} 2")
    changed = time.monotonic()
    while status(PASSWORD) != 401:
        assert time.monotonic() - changed < 60
    assert status(f"{PASSWORD} 2") == 200
    users.remove("eve")
    removed = time.monotonic()
    while status(f"{PASSWORD} 2") != 401:
        assert time.monotonic() - removed < 60


def test_changes_leave_a_line_in_the_audit(protected: Protected, version: str) -> None:
    with protected.mlflow("rob") as rob:
        assert refused(lambda: rob.delete_registered_model("iris"))
    host = protected.host
    for fields in (
        {"action": "model.create", "on": "model:iris", "who": "user:airflow", "allowed": True},
        {"action": "version.create", "on": "version:iris", "who": "user:airflow"},
        {"action": "model.alias-set", "on": "model:iris alias=champion version=1"},
        {"action": "model.delete", "who": "user:rob", "allowed": False},
    ):
        assert host.wait_for_event(event="audit", **fields)["address"] == "127.0.0.1"


def test_no_secret_is_in_the_log_or_in_the_list_of_processes(protected: Protected) -> None:
    command = (f"/proc/{protected.host.process.pid}/cmdline", "rb")
    with open(*command) as file:  # noqa: PTH123
        seen = protected.host.errors + file.read().decode()
    assert not [name for name, secret in protected.passwords.items() if secret in seen]


def test_an_operator_makes_lists_and_removes_accounts(protected: Protected) -> None:
    folder = protected.host.folder
    made = run(folder, "users", "add", "zoe", "--role", "admin", "--password-stdin", stdin=PASSWORD)
    assert made.stdout == ""
    listed = names(folder)
    assert listed["zoe"] == ["admin"]
    assert listed["api"] == ["api"]
    run(folder, "users", "remove", "zoe")
    assert "zoe" not in {user.name for user in protected.users().all()}


def test_a_refusal_before_its_body_is_not_in_the_way_of_the_next_request(
    protected: Protected,
) -> None:
    connection, answer = begun(protected.host.port, f"{API}/runs/create", 10)
    with closing(connection):
        assert (answer.status, answer.will_close) == (401, False)
        connection.send(b"0123456789")
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200


def test_a_refused_upload_that_goes_on_gets_the_whole_answer(protected: Protected) -> None:
    connection, answer = begun(protected.host.port, f"{ARTIFACTS}/1/file", 1_000_000)
    connection.close()
    assert (answer.status, answer.will_close) == (401, True)
    told = told_without_an_end(protected.host.port, f"{ARTIFACTS}/1/file", 1_000_000)
    assert b"connection: close" in told.lower()
    assert told.endswith(b"makes accounts.\n")
