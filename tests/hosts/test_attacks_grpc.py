"""Attacks on the API's port of gRPC in the lab, under its real unit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import grpc
import numpy as np
import pytest
import tritonclient.grpc as v2

from lab.client import key_headers
from lab.deadline import wait_for
from lab.deployment import SERVERS, Deployment, set_variables
from tests.attacks import http2
from tests.attacks.calls import CALLS, INFER, SECONDS, Attack
from tests.attacks.connections import cut_off, endured, endured_or_cut_off, held, nothing
from tests.attacks.honest import Honest, asking
from tests.attacks.stranger import say
from tests.attacks.table import Row, printed, witnessed
from tests.hosts.relay import relayed
from tests.hosts.service import Service, enduring, key_of_its_own

PORT = 8001
ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}

CUT_OFF = {"headers of HTTP/2 without end", "headers that unpack to many", "empty data"}
"""Of all that goes on, gRPC ends these connections at once; others, where it has had enough."""

ATTACKS: dict[str, Attack] = {
    **CALLS,
    "what is no HTTP/2": cut_off(lambda _, attacker: say(attacker, b"GET / HTTP/1.1\r\n\r\n")),
    "nothing after the handshake": held(nothing),
    **{
        name: cut_off(words) if name in CUT_OFF else endured(words)
        for name, words in http2.FLOODS.items()
    },
    "pings": endured_or_cut_off(http2.FLOODS["pings"]),
}


@dataclass(frozen=True)
class Port(Service):
    """The port, which gRPC itself reaches by a port of this machine."""

    relay: str = ""

    def channel(self) -> grpc.Channel:
        """A new connection for calls."""
        return grpc.insecure_channel(self.relay, [("grpc.use_local_subchannel_pool", 1)])


@contextmanager
def listening(deployment: Deployment) -> Iterator[None]:
    """The API with a port of gRPC, until the block ends."""
    set_port(deployment, str(PORT))
    try:
        yield
    finally:
        set_port(deployment, "")


def set_port(deployment: Deployment, port: str) -> None:
    host = deployment.lab["api"]
    set_variables(host, "/etc/api-host/env", {"API_GRPC_PORT": port})
    host.systemctl("daemon-reload")
    host.systemctl("restart", "api-host.socket", SERVERS["api"].unit)
    deployment.wait_until_ready("api")


@pytest.fixture(scope="module")
def target(deployment: Deployment) -> Iterator[Port]:
    """The port; the API must end as the process that it was."""
    with listening(deployment), key_of_its_own(deployment) as shown:
        port = Port(deployment, "api", SERVERS["api"].unit, PORT, INFER, INFER, shown)
        with (
            relayed(port.connect) as relay,
            enduring(replace(port, relay=relay)) as target,
        ):
            yield target


@pytest.fixture(scope="module")
def honest(target: Port) -> Iterator[Honest]:
    """Who predicts by Triton's client."""
    with v2.InferenceServerClient(target.relay) as client:
        shown = {name.lower(): key for name, key in key_headers(target.lab).items()}
        inputs = [tensor_of(*each) for each in ROW.items()]
        ask = partial(client.infer, "iris", inputs, headers=shown, client_timeout=SECONDS)
        wait_for(lambda: client.is_model_ready("iris", headers=shown), SECONDS, "a model")
        expected = str(ask().get_response())

        def predict() -> str | None:
            try:
                found = str(ask().get_response())
            except v2.InferenceServerException as error:
                return str(error)
            return None if found == expected else found

        with asking(predict, "predictions") as honest:
            yield honest


def tensor_of(name: str, value: float) -> v2.InferInput:
    tensor = v2.InferInput(name, [1], "FP64")
    tensor.set_data_from_numpy(np.array([value]))
    return tensor


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[list[Row]]:
    with printed("On gRPC, under its unit", ATTACKS, pytestconfig) as rows:
        yield rows


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_met_and_others_are_served(
    target: Port, honest: Honest, table: list[Row], name: str
) -> None:
    table.append(witnessed(name, ATTACKS[name], target, honest))
