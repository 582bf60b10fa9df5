import fnmatch
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.provisional import domains

from hostkit.settings import load
from mlflow_host.callers import allowed_hosts, allowed_origins, own_names
from mlflow_host.settings import MlflowSettings

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.1/32")
PORTS = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))


def settings(**variables: str) -> MlflowSettings:
    return load(MlflowSettings, environment=variables).settings


OPEN = settings(MLFLOW_HOST="0.0.0.0", MLFLOW_PUBLIC_URL="https://mlflow.corp.example")
NAMES = ["Tracker.corp.example", "203.0.113.9"]


def is_allowed(patterns: tuple[str, ...], host: str) -> bool:
    """As MLflow compares them."""
    return any(
        fnmatch.fnmatch(host, pattern) if "*" in pattern else host == pattern
        for pattern in patterns
    )


@given(port=PORTS)
@pytest.mark.parametrize(
    "name",
    [
        "mlflow.corp.example",
        "mlflow",
        "tracker.corp.example",
        "tracker",
        "203.0.113.9",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
    ],
)
def test_every_name_of_the_server_is_let_in(name: str, port: str) -> None:
    assert is_allowed(allowed_hosts(OPEN, NAMES), name + port)


@given(
    address=st.sampled_from(PRIVATE).flatmap(
        lambda network: st.ip_addresses(network=IPv4Network(network))
    ),
    port=PORTS,
)
def test_private_addresses_are_let_in(address: IPv4Address, port: str) -> None:
    assert is_allowed(allowed_hosts(OPEN, []), f"{address}{port}")


@given(address=st.ip_addresses(network=IPv6Network("fc00::/7")), port=PORTS)
def test_private_addresses_of_ipv6_are_let_in(address: object, port: str) -> None:
    assert is_allowed(allowed_hosts(OPEN, []), f"[{address}]{port}")


@given(
    domain=domains(),
    prefix=st.sampled_from(
        ["", "10.", "192.168.1.1.", "172.16.", "fd00.", "mlflow.", "localhost."]
    ),
    port=PORTS,
)
def test_no_other_website_is_let_in(domain: str, prefix: str, port: str) -> None:
    assert not is_allowed(allowed_hosts(OPEN, NAMES), f"{prefix}{domain}{port}")


@given(address=st.ip_addresses(v=4).filter(lambda address: address.is_global), port=PORTS)
def test_no_other_public_address_is_let_in(address: IPv4Address, port: str) -> None:
    assert not is_allowed(allowed_hosts(OPEN, ["203.0.113.9"]), f"{address}{port}")


def test_the_ui_may_write_by_each_name_of_the_server() -> None:
    assert allowed_origins(OPEN, NAMES) == (
        "https://mlflow.corp.example",
        "http://mlflow.corp.example:5000",
        "http://0.0.0.0:5000",
        "http://tracker.corp.example:5000",
        "http://203.0.113.9:5000",
        "http://mlflow:5000",
        "http://tracker:5000",
    )


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://mlflow:80", "http://mlflow"),
        ("https://mlflow:443/", "https://mlflow"),
        ("https://mlflow/behind/a/proxy", "https://mlflow"),
        ("https://MLflow:8443", "https://mlflow:8443"),
        ("http://[fd00::5]:5000", "http://[fd00::5]:5000"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert allowed_origins(settings(MLFLOW_PUBLIC_URL=url), [])[0] == origin


def test_this_machine_has_a_name_and_an_address() -> None:
    assert "127.0.0.1" in own_names()
    assert all(own_names())
