"""A public client of the Open Inference Protocol, unchanged, against the running API."""

from typing import Any

import numpy as np
import pytest
import tritonclient.http as v2

from dev_hosts.hosts import Hosts

pytestmark = pytest.mark.usefixtures("journey")

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.9, 3.1, 5.4, 2.1]])
OUTPUT = "output-0"


@pytest.fixture
def client(hosts: Hosts) -> v2.InferenceServerClient:
    """Triton's client of an API that serves iris."""
    return v2.InferenceServerClient(hosts.urls["api"].removeprefix("http://"))


def tensor_of(name: str, array: Any, *, binary: bool) -> v2.InferInput:
    datatype = {"float32": "FP32", "float64": "FP64"}[array.dtype.name]
    tensor = v2.InferInput(name, list(array.shape), datatype)
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
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_in_json_and_binary(
    client: v2.InferenceServerClient,
    *,
    sent_as_binary: bool,
    wanted_as_binary: bool | None,
    dtype: Any,
) -> None:
    rows = ROWS.astype(dtype)
    names = [tensor["name"] for tensor in client.get_model_metadata("iris")["inputs"]]
    one_a_column = [
        tensor_of(name, rows[:, index], binary=sent_as_binary) for index, name in enumerate(names)
    ]
    outputs = None
    if wanted_as_binary is not None:
        outputs = [v2.InferRequestedOutput(OUTPUT, binary_data=wanted_as_binary)]
    for inputs in ([tensor_of("input-0", rows, binary=sent_as_binary)], one_a_column):
        result = client.infer("iris", inputs, outputs=outputs, request_id="42")
        labels = result.as_numpy(OUTPUT).astype(str)
        assert labels.tolist() == ["setosa", "virginica"]
        assert result.get_response()["id"] == "42"


def test_a_refusal_is_shown(client: v2.InferenceServerClient) -> None:
    with pytest.raises(v2.InferenceServerException, match="the model has 4 columns") as refused:
        client.infer("iris", [tensor_of("input-0", ROWS[:, :3], binary=True)])
    assert refused.value.status() == "422"
    client.load_model("iris")
    with pytest.raises(v2.InferenceServerException, match="MODEL_NAMES"):
        client.unload_model("iris")
