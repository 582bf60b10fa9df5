"""The network: which names and addresses there can be, and what nft says of its faults."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import LabError
from lab.network import ADDRESSES, WORLD, Network, check_addresses, read_faults


class Recorder:
    """Stands where the lab runs programs, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def __call__(self, command: str, text: str) -> subprocess.CompletedProcess[str]:
        self.told.append((command, text))
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def network(recorder: Recorder) -> Network:
    return Network(ADDRESSES, recorder)


def test_the_three_servers_have_addresses_that_can_be() -> None:
    check_addresses(ADDRESSES)


@pytest.mark.parametrize(
    "name", ["", "world", "UPPER", "1st", "with_underscore", "a.b", "a" * 14, "name;ls", "-x"]
)
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="cannot be called"):
        check_addresses({name: "10.77.0.2"})


@pytest.mark.parametrize(
    "address", ["10.77.0.0", "10.77.0.1", "10.77.0.255", "10.77.1.2", "localhost", "::1", ""]
)
def test_an_address_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(LabError, match=r"one cannot have the address .* in 10\.77\.0\.0/24"):
        check_addresses({"one": address})


def test_an_address_belongs_to_one_host() -> None:
    with pytest.raises(LabError, match=r"two cannot have the address 10\.77\.0\.2"):
        check_addresses({"one": "10.77.0.2", "two": "10.77.0.2"})


@given(st.sets(st.integers(2, 254), min_size=1, max_size=20))
def test_any_number_of_hosts_may_have_addresses_of_their_own(numbers: set[int]) -> None:
    check_addresses({f"host-{number}": f"10.77.0.{number}" for number in numbers})


def test_everybody_knows_everybody(network: Network) -> None:
    lines = network.hosts_file().splitlines()
    for name, address in {**ADDRESSES, WORLD: "10.77.0.1"}.items():
        assert f"{address} {name}" in lines


def test_a_host_that_is_not_there_is_named_with_those_that_are(network: Network) -> None:
    with pytest.raises(LabError, match="no host is called 'ap': there are world, mlflow, airflow"):
        network.cut("ap", "mlflow")


def test_what_cannot_break_is_said(network: Network, recorder: Recorder) -> None:
    with pytest.raises(LabError, match="api has no link to itself"):
        network.cut("api", "api")
    with pytest.raises(LabError, match="the world has no cable"):
        network.unplug("world")
    for percent in (0, -1, 101):
        with pytest.raises(LabError, match="it must be 1 to 100"):
            network.lose("api", "mlflow", percent)
    assert not recorder.told


def test_a_link_has_two_ways(network: Network, recorder: Recorder) -> None:
    network.cut("api", "mlflow")
    network.cut("api", "mlflow", one_way=True)
    both, one = (text for _, text in recorder.told)
    assert "10.77.0.4 . 10.77.0.2, 10.77.0.2 . 10.77.0.4" in both
    assert "10.77.0.4 . 10.77.0.2 }" in one


def test_faults_are_told_in_words() -> None:
    def end(side: str, address: str) -> dict[str, object]:
        left = {"payload": {"protocol": "ip", "field": f"{side}addr"}}
        return {"match": {"op": "==", "left": left, "right": address}}

    share = {"match": {"op": "<", "left": {"numgen": {"mode": "random"}}, "right": 30}}
    weather = [end("s", "10.77.0.4"), end("d", "10.77.0.2"), share, {"drop": None}]
    rules = {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"set": {"name": "cut", "elem": [{"concat": ["10.77.0.4", "10.77.0.1"]}]}},
            {"set": {"name": "blocked", "elem": [{"concat": ["10.77.0.2", 5000]}]}},
            {"rule": {"chain": "faults", "expr": [{"jump": {"target": "weather"}}]}},
            {"rule": {"chain": "weather", "expr": weather}},
        ]
    }
    names = {"10.77.0.1": "world", "10.77.0.2": "mlflow", "10.77.0.4": "api"}
    assert list(read_faults(rules, names)) == [
        "nothing passes from api to world",
        "nothing passes to port 5000 of mlflow",
        "30 % of packets from api to mlflow are lost",
    ]


def test_no_faults_are_no_words() -> None:
    assert not list(read_faults({"nftables": [{"set": {"name": "cut"}}]}, {}))
