"""Where a request comes from, and as whom it is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_host.rates.addresses import Proxies, counted, read_networks

PROXIES = Proxies(read_networks("127.0.0.1, 10.0.0.0/24, fd00::/64"))
addresses = st.ip_addresses().map(str)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["203.0.113.5, 192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["203.0.113.5", "192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["192.0.2.7, 10.0.0.3"], "192.0.2.7"),
        ("fd00::9", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("127.0.0.1", ["192.0.2.7:4711"], "192.0.2.7"),
        ("::ffff:127.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["203.0.113.5, nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["nonsense, 10.0.0.3"], "10.0.0.3"),
        ("127.0.0.1", ["10.0.0.4, 10.0.0.3"], "10.0.0.4"),
        ("127.0.0.1", [""], "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_who_is_no_proxy(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert PROXIES.client(peer, forwarded) == client


@given(addresses, st.lists(st.text() | addresses))
def test_who_is_no_proxy_cannot_be_somebody_else(peer: str, forwarded: list[str]) -> None:
    assert Proxies(()).client(peer, forwarded) == Proxies(()).client(peer, [])


@given(st.lists(st.text() | addresses))
def test_a_client_cannot_add_to_what_its_proxy_says(said: list[str]) -> None:
    assert PROXIES.client("127.0.0.1", [*said, "192.0.2.7"]) == "192.0.2.7"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("address:192.0.2.7", "address:192.0.2.7"),
        ("address:2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("address:2001:db8:1:2::7", "address:2001:db8:1:2::/64"),
        ("address:::ffff:192.0.2.7", "address:192.0.2.7"),
        ("address:unknown", "address:unknown"),
        ("key:2001:db8::1", "key:2001:db8::1"),
    ],
)
def test_a_site_of_ipv6_is_one_caller(name: str, expected: str) -> None:
    assert counted(name) == expected


@pytest.mark.parametrize("text", ["*", "proxy.example.com", "10.0.0.7/8", "10.0.0.0/33"])
def test_a_proxy_is_an_address_or_a_network(text: str) -> None:
    with pytest.raises(ValueError, match="is no address and no network"):
        read_networks(text)
