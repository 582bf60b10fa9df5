import contextlib
import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_host.training.addresses import METADATA, Exempt, fault, resolve
from airflow_host.training.errors import BadData

REFUSED = [
    *map(str, METADATA),
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "169.254.1.1",
    "fe80::1",
    "fe80::1%lo",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_some_addresses_are_not_asked(address: str) -> None:
    assert fault(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "10.255.3.2", "192.168.77.2", "2606:2800::1", "fd12:3456::7"]
)
def test_others_are_in_private_networks_too(address: str) -> None:
    assert fault(ipaddress.ip_address(address)) is None


def test_an_address_of_this_machine_is_this_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Nothing is sent: it only chooses an address.
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = probe.getsockname()[0]

    assert fault(ipaddress.ip_address(own)) == "this machine itself"


@given(st.ip_addresses(v=4))
def test_an_address_is_judged_alike_however_it_is_wrapped(address: ipaddress.IPv4Address) -> None:
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert fault(ipaddress.ip_address(wrapped)) == fault(address)


@pytest.mark.parametrize("name", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
def test_a_number_is_an_address_however_it_is_written(name: str) -> None:
    with pytest.raises(BadData, match=f"{name}.*port 80.*add {name}:80 to TRAINING_DATA_HOSTS"):
        resolve(name, 80, ())


@pytest.mark.parametrize(
    ("exempt", "port", "allowed"),
    [
        ("127.0.0.1", 80, True),
        ("127.0.0.0/8", 80, True),
        ("localhost", 80, True),
        ("localhost:80", 80, True),
        ("127.0.0.1:80", 80, True),
        ("127.0.0.1:80", 81, False),
        ("localhost:80", 81, False),
        ("127.0.0.2", 80, False),
        ("elsewhere", 80, False),
        ("[::1]:80", 80, False),
    ],
)
def test_an_operator_allows_a_host(exempt: str, port: int, allowed: bool) -> None:
    address = ipaddress.ip_address("127.0.0.1")

    assert Exempt.parse(exempt).covers("LOCALHOST", address, port) is allowed


@pytest.mark.parametrize(
    "text", ["", "http://x", "a/b", "a b", "user@host", "host:port", "host:99999", "::1]", "*"]
)
def test_what_is_no_host_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        Exempt.parse(text)


@given(st.text())
def test_any_text_is_a_host_or_told(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert Exempt.parse(text).host
