import ipaddress
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit.definition import Entrance
from hostkit.errors import HostError
from hostkit.outside.firewall import render
from tests.hostkit.outside.programs import accepted, own_network
from tests.lacks import program

NETWORKS = st.lists(
    st.ip_addresses().flatmap(
        lambda address: st.integers(0, address.max_prefixlen).map(
            lambda length: str(ipaddress.ip_network(f"{address}/{length}", strict=False))
        )
    ),
    min_size=1,
    max_size=8,
)


def entrance(
    url: str | None = "http://mlflow:5000",
    address: str = "0.0.0.0",
    callers: dict[str, str] | None = None,
) -> Entrance:
    return Entrance(url, "MLFLOW_PUBLIC_URL", address, 5000, None, 600, callers or {})


def rules(*given: str, where: Entrance | None = None, ssh_port: int = 22) -> str:
    return render("mlflow-host", where or entrance(), list(given), ssh_port=ssh_port)


def elements(text: str) -> set[str]:
    found = re.findall(r"elements = \{ (.*) \}", text)
    return {element for line in found for element in line.split(", ")}


def opened(text: str) -> set[str]:
    """The ports that clients may reach."""
    ports = re.findall(r"@clients[46] tcp dport \{ (.*) \} accept", text)
    assert len(ports) == 2
    return set(ports)


@given(networks=NETWORKS)
def test_exactly_those_who_are_named_may_come_in(networks: list[str]) -> None:
    text = rules(*networks)
    assert elements(text) == set(networks)
    assert opened(text) == {"5000"}
    assert "policy drop;" in text


def test_the_hosts_that_the_settings_name_may_come_in() -> None:
    where = entrance(callers={"API_SERVER_URL": "http://10.77.0.13:8000"})
    text = rules(where=where)
    assert elements(text) == {"10.77.0.13/32"}
    assert "# 10.77.0.13 is 10.77.0.13/32 (API_SERVER_URL)" in text


def test_a_name_becomes_its_addresses() -> None:
    text = rules("localhost")
    assert "127.0.0.1/32" in elements(text)
    assert "# localhost is" in text


def test_a_host_behind_a_proxy_shows_only_the_proxy() -> None:
    where = entrance("https://mlflow.example.com", address="127.0.0.1")
    assert opened(rules("10.0.0.2", where=where)) == {"80, 443"}
    where = entrance("https://mlflow.example.com:8443")
    assert opened(rules("10.0.0.2", where=where)) == {"80, 8443"}


def test_the_port_of_grpc_is_opened_unless_a_proxy_stands_before_it() -> None:
    where = replace(entrance(), grpc_port=5001)
    assert opened(rules("10.0.0.2", where=where)) == {"5000, 5001"}
    where = replace(where, url="https://mlflow.example.com")
    assert opened(rules("10.0.0.2", where=where)) == {"80, 443"}


def test_ssh_may_have_another_port() -> None:
    assert "tcp dport 2222 accept" in rules("10.0.0.2", ssh_port=2222)


@pytest.mark.parametrize(
    ("given", "where", "sentence"),
    [
        ([], entrance(), "who may call mlflow-host"),
        (["10.0.0.2"], entrance(address="127.0.0.1"), "there is no port to open"),
        (["a b"], entrance(), "is no address, network or name"),
        (["no-such-host.invalid"], entrance(), r"no-such-host\.invalid \(--from\) is unknown"),
    ],
)
def test_what_makes_no_sense_is_refused(given: list[str], where: Entrance, sentence: str) -> None:
    with pytest.raises(HostError, match=sentence):
        rules(*given, where=where)


@pytest.mark.parametrize(
    "given",
    [
        ["10.0.0.2"],
        ["fd00::/8"],
        ["10.0.0.0/24", "10.0.0.7", "::/0", "0.0.0.0/0"],
    ],
)
def test_nft_accepts_it_and_loads_it_again_and_again(given: list[str], tmp_path: Path) -> None:
    nft = program("nft", "nftables")
    file = tmp_path / "rules"
    file.write_text(rules(*given))
    script = '"$1" -c -f "$2"; "$1" -f "$2"; "$1" -f "$2"; "$1" list table inet mlflow_host'
    # So that no rule reaches this machine.
    accepted(*own_network(), "sh", "-ec", script, "sh", nft, file)
