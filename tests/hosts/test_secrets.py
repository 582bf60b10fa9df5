"""After all that three servers do in a day, no secret of theirs is where others could read it."""

import json
from collections.abc import Iterator, Mapping

import httpx
import pytest

from dev_hosts.journey import train
from dev_hosts.progress import Progress
from lab.client import API_KEY_FILE
from lab.deployment import SERVERS, Deployment
from lab.host import LabHost

LEAST_CHARACTERS = 12
"""What is shorter is found in texts by chance."""

SECONDS_TO_BACK_UP = 300.0


@pytest.fixture(scope="module")
def secrets(deployment: Deployment) -> Mapping[str, str]:
    """The text of each secret by where it is, once the servers have been busy with all of them."""
    found = {}
    for name, server in SERVERS.items():
        folder = f"/etc/{server.product}/credentials"
        host = deployment.lab[name]
        for variable in host.run("ls", folder).stdout.split():
            found[f"{name}: {variable}"] = host.read(f"{folder}/{variable}").strip()
    found["api: a key"] = deployment.lab["api"].read(API_KEY_FILE).strip()
    return {where: _telling(text) for where, text in found.items() if len(text) >= LEAST_CHARACTERS}


def _telling(text: str) -> str:
    """The secret itself, or of a PEM file the line in the middle, which nothing else holds."""
    lines = text.splitlines()
    return lines[len(lines) // 2] if len(lines) > 1 else text


@pytest.fixture(scope="module", autouse=True)
def day(deployment: Deployment, secrets: Mapping[str, str], progress: Progress) -> None:
    """What uses the secrets, and what goes wrong with them."""
    with deployment.connect("api") as api:
        train(deployment, api, progress)
    key, password = secrets["api: a key"], secrets["airflow: AIRFLOW_PASSWORD"]
    for name, path, auth, headers in (
        ("api", "/v1/models", None, {"Authorization": f"Bearer {key}x"}),
        ("api", f"/v1/models/{key}", None, {"X-API-Key": key}),
        ("mlflow", "/api/2.0/mlflow/experiments/search", ("admin", f"{key}x"), {}),
        ("airflow", "/api/v2/dags", ("airflow", f"{password}x"), {}),
    ):
        with deployment.connect(name) as client:
            client.headers.pop("X-API-Key", None)
            refused = client.get(path, auth=auth or httpx.Auth(), headers=headers)
            assert refused.is_client_error


def _texts(host: LabHost, product: str) -> Iterator[tuple[str, str]]:
    """What somebody without root's rights sees of a server, and what leaves it."""
    yield "the processes", host.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    yield "the units", host.shell("systemctl show --all '*'").stdout
    yield "config", host.run(product, "config", "--json").stdout
    yield "doctor", host.run(product, "doctor", "--json", check=False).stdout
    yield "status", host.run(product, "status", "--json", check=False).stdout
    yield "rotate --list", host.run(product, "rotate", "--list").stdout
    yield "what everybody may read", host.shell(
        "find /etc /var /opt /run /tmp /srv -xdev -type f -perm -o=r -size -4M"
        " -not -path '*/releases/*' -print0 2>/dev/null | xargs --null --no-run-if-empty cat"
    ).stdout


@pytest.mark.parametrize("name", SERVERS)
def test_nobody_without_roots_rights_sees_one(
    deployment: Deployment, secrets: Mapping[str, str], name: str
) -> None:
    for what, text in _texts(deployment.lab[name], SERVERS[name].product):
        assert [where for where, secret in secrets.items() if secret in text] == [], what


@pytest.mark.parametrize("name", SERVERS)
def test_none_is_in_the_journal(
    deployment: Deployment, secrets: Mapping[str, str], name: str
) -> None:
    text = deployment.lab[name].run("journalctl", "--all", "--output=export").stdout
    # What a client writes into a path is in the log, as everything that it asks for.
    asked = f"/v1/models/{secrets['api: a key']}"
    text = text.replace(asked, "")
    assert [where for where, secret in secrets.items() if secret in text] == []


@pytest.mark.parametrize("name", SERVERS)
def test_none_is_in_what_is_told_to_the_network(
    deployment: Deployment, secrets: Mapping[str, str], name: str
) -> None:
    with deployment.connect(name) as client:
        texts = [client.get(path).text for path in ("/", "/metrics", SERVERS[name].health)]
    assert [where for where, secret in secrets.items() if secret in "".join(texts)] == []


@pytest.mark.parametrize("name", SERVERS)
def test_none_is_in_a_backup_that_was_not_asked_for_them(
    deployment: Deployment, secrets: Mapping[str, str], name: str
) -> None:
    host, product = deployment.lab[name], SERVERS[name].product
    made = host.run(product, "backup", "--json", seconds=SECONDS_TO_BACK_UP).stdout
    folder = json.loads(made)["folder"]
    text = host.shell(f"find {folder} -type f -print0 | xargs --null cat").stdout
    assert [where for where, secret in secrets.items() if secret in text] == []


@pytest.mark.parametrize("name", SERVERS)
def test_no_service_leaves_its_memory_behind_when_it_crashes(
    deployment: Deployment, name: str
) -> None:
    host, product = deployment.lab[name], SERVERS[name].product
    units = host.run("systemctl", "list-units", "--plain", "--no-legend", f"{product}*.service")
    services = [line.split()[0] for line in units.stdout.splitlines()]
    assert services
    assert {host.property_of(unit, "LimitCORE") for unit in services} == {"0"}
