"""HTTP clients of a lab's hosts, for programs on this machine: they call hosts by their names."""

import ssl
from collections.abc import Mapping

import httpx

from lab.lab import Lab
from lab.namespaces import inside_network

TIMEOUT_SECONDS = 30.0

API_KEY_FILE = "/root/lab.key"
"""On the API's host: the key that clients in the lab show."""


def key_headers(lab: Lab) -> dict[str, str]:
    """What clients of the API show."""
    return {"X-API-Key": lab["api"].read(API_KEY_FILE).strip()}


def connect(
    lab: Lab,
    base_url: str = "",
    *,
    auth: httpx.Auth | None = None,
    headers: Mapping[str, str] | None = None,
    keep_alive: bool = True,
    timeout: float = TIMEOUT_SECONDS,
    verify: ssl.SSLContext | bool = True,
) -> httpx.Client:
    """A client in the lab's network, as the world."""
    return httpx.Client(
        base_url=base_url,
        auth=auth,
        headers=headers,
        timeout=timeout,
        transport=_Transport(lab, keep_alive=keep_alive, verify=verify),
    )


class _Transport(httpx.HTTPTransport):
    """Makes its connections in the lab's network, to the addresses that the lab's names have."""

    def __init__(self, lab: Lab, *, keep_alive: bool, verify: ssl.SSLContext | bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        super().__init__(limits=limits, verify=verify, trust_env=False)
        self._lab = lab

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host
        address = self._lab.network.addresses.get(name, name)
        there = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,  # Host is in there, with the name.
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": name},
        )
        with inside_network(self._lab.init):
            return super().handle_request(there)
