"""A public client of the Open Inference Protocol, unchanged, against the running API."""

from typing import Any

import pytest
import tritonclient.http as v2

from dev_hosts.hosts import Hosts
from tests.integration.iris import DATATYPES, LABELS, OUTPUT, ROWS, forms

pytestmark = pytest.mark.usefixtures("journey")


@pytest.fixture
def client(hosts: Hosts) -> v2.InferenceServerClient:
    """Triton's client of an API that serves iris."""
    return v2.InferenceServerClient(hosts.urls["api"].removeprefix("http://"))


def tensor_of(name: str, array: Any, *, binary: bool) -> v2.InferInput:
    tensor = v2.InferInput(name, list(array.shape), DATATYPES[array.dtype.name])
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def test_readiness_and_metadata(client: v2.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert not client.is_model_ready("none")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("iris")
    assert client.is_model_ready("iris", metadata["versions"][0])
    assert {tensor["datatype"] for tensor in metadata["inputs"]} == {"FP64"}
    assert client.get_model_repository_index()[0]["state"] == "READY"


@pytest.mark.parametrize("sent_as_binary", [True, False])
@pytest.mark.parametrize("wanted_as_binary", [True, False, None])
@pytest.mark.parametrize("dtype", DATATYPES)
def test_predictions_in_json_and_binary(
    client: v2.InferenceServerClient,
    *,
    sent_as_binary: bool,
    wanted_as_binary: bool | None,
    dtype: Any,
) -> None:
    names = [tensor["name"] for tensor in client.get_model_metadata("iris")["inputs"]]
    outputs = None
    if wanted_as_binary is not None:
        outputs = [v2.InferRequestedOutput(OUTPUT, binary_data=wanted_as_binary)]
    for form in forms(ROWS.astype(dtype), names):
        inputs = [tensor_of(name, each, binary=sent_as_binary) for name, each in form.items()]
        result = client.infer("iris", inputs, outputs=outputs, request_id="42")
        assert result.as_numpy(OUTPUT).astype(str).tolist() == LABELS
        assert result.get_response()["id"] == "42"


def test_a_refusal_is_shown(client: v2.InferenceServerClient) -> None:
    with pytest.raises(v2.InferenceServerException, match="the model has 4 columns") as refused:
        client.infer("iris", [tensor_of("input-0", ROWS[:, :3], binary=True)])
    assert refused.value.status() == "422"
    client.load_model("iris")
    with pytest.raises(v2.InferenceServerException, match="MODEL_NAMES"):
        client.unload_model("iris")
