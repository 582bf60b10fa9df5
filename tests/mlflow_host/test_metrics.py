"""`/metrics`, asked of a real server."""

import re
from pathlib import Path

import httpx
import mlflow
import pytest

from hostkit.settings import load
from mlflow_host.metrics import Contents
from mlflow_host.settings import MlflowSettings
from tests.docs.pages import documented_metrics, documented_process_metrics, shown_metrics
from tests.mlflow_host.host import Host

# MLflow warns its own developers.
pytestmark = pytest.mark.filterwarnings("ignore")

SEARCH = "/api/2.0/mlflow/experiments/search"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


def page(server: Host) -> str:
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.is_success
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return answer.text


def value(server: Host, name: str, **labels: str) -> float:
    """The value of one line of the page; 0 if it is not there."""
    for line in page(server).splitlines():
        match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if (
            match
            and match[1] == name
            and dict(re.findall(r'(\w+)="(.*?)"', match[2] or "")) == labels
        ):
            return float(match[3])
    return 0


def test_every_metric_is_documented_and_no_other(server: Host) -> None:
    documented = documented_metrics("mlflow-host") | documented_process_metrics()
    assert shown_metrics(page(server)) == documented


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("POST", SEARCH, SEARCH, "400"),
        ("GET", f"{ARTIFACTS}/no/such/file", ARTIFACTS + "/{artifact_path:path}", "404"),
        ("GET", "/health", "/health", "200"),
        ("GET", "/no/such/path", "none", "404"),
        ("DELETE", "/no/such/path", "none", "404"),
    ],
)
def test_a_request_is_counted_under_its_route(
    server: Host, method: str, path: str, route: str, status: str
) -> None:
    labels = {"method": method, "route": route, "status": status}
    before = value(server, "tripod_mlflow_requests_total", **labels)
    timed = value(server, "tripod_mlflow_request_seconds_count", route=route)
    answer = httpx.request(method, f"{server.url}{path}")
    assert str(answer.status_code) == status
    assert value(server, "tripod_mlflow_requests_total", **labels) == before + 1
    assert value(server, "tripod_mlflow_request_seconds_count", route=route) == timed + 1


def test_the_bytes_of_artifacts_are_counted(server: Host) -> None:
    route = ARTIFACTS + "/{artifact_path:path}"
    received = value(server, "tripod_mlflow_received_bytes_total", route=route)
    sent = value(server, "tripod_mlflow_sent_bytes_total", route=route)
    url = f"{server.url}{ARTIFACTS}/counted"
    assert httpx.put(url, content=b"x" * 100_000).is_success
    assert len(httpx.get(url).content) == 100_000
    assert value(server, "tripod_mlflow_received_bytes_total", route=route) == received + 100_000
    assert value(server, "tripod_mlflow_sent_bytes_total", route=route) >= sent + 100_000


def test_it_says_what_the_database_holds_and_how_much_room_is_left(server: Host) -> None:
    assert value(server, "tripod_mlflow_database_up") == 1
    assert value(server, "tripod_mlflow_artifacts_free_bytes") > 0
    client = mlflow.MlflowClient(tracking_uri=server.url)
    client.set_terminated(client.create_run("0").info.run_id)
    found = samples(settings_in(server.folder / "state"))
    assert found["tripod_mlflow_database_up"] == 1
    assert found["tripod_mlflow_experiments"] >= 1
    assert found["tripod_mlflow_runs", "FINISHED"] >= 1
    assert found["tripod_mlflow_artifacts_free_bytes"] > 0


def test_a_database_that_is_away_is_a_zero_and_no_error(tmp_path: Path) -> None:
    found = samples(settings_in(tmp_path / "none"))
    assert found == {"tripod_mlflow_database_up": 0}


def settings_in(folder: Path) -> MlflowSettings:
    return load(MlflowSettings, environment={"STATE_DIRECTORY": str(folder)}).settings


def samples(settings: MlflowSettings) -> dict[str | tuple[str, ...], float]:
    """What the host that has these settings keeps, by the metric and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()) if sample.labels else sample.name: sample.value
        for family in Contents(settings).collect()
        for sample in family.samples
    }


def test_a_website_is_kept_out(server: Host) -> None:
    answer = httpx.get(f"{server.url}/metrics", headers={"Host": "evil.example"})
    assert answer.status_code == 403
