"""Public clients of the Open Inference Protocol over gRPC, unchanged, against the running API."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import tritonclient.grpc as v2
from tritonclient.grpc import service_pb2, service_pb2_grpc

from dev_hosts.hosts import Hosts
from tests.integration.iris import DATATYPES, LABELS, OUTPUT, ROWS, forms

pytestmark = pytest.mark.usefixtures("journey")


@pytest.fixture
def client(hosts: Hosts) -> Iterator[v2.InferenceServerClient]:
    """Triton's client of an API that serves iris."""
    with v2.InferenceServerClient(hosts.grpc) as client:
        yield client


@pytest.fixture
def stub(hosts: Hosts) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    """What MLServer's and KServe's clients are made of: the protocol's stub."""
    with grpc.insecure_channel(hosts.grpc) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def tensor_of(name: str, array: Any) -> v2.InferInput:
    tensor = v2.InferInput(name, list(array.shape), DATATYPES[array.dtype.name])
    tensor.set_data_from_numpy(array)
    return tensor


def names_of(client: v2.InferenceServerClient) -> list[str]:
    return [tensor.name for tensor in client.get_model_metadata("iris").inputs]


def test_readiness_and_metadata(client: v2.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert not client.is_model_ready("none")
    assert "model_repository" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("iris", as_json=True)
    assert client.is_model_ready("iris", metadata["versions"][0])
    assert {tensor["datatype"] for tensor in metadata["inputs"]} == {"FP64"}
    assert client.get_model_repository_index().models[0].state == "READY"


@pytest.mark.parametrize("outputs", [None, [OUTPUT]])
@pytest.mark.parametrize("dtype", DATATYPES)
def test_predictions_from_binary_data(
    client: v2.InferenceServerClient, outputs: list[str] | None, dtype: str
) -> None:
    wanted = outputs and [v2.InferRequestedOutput(name) for name in outputs]
    for form in forms(ROWS.astype(dtype), names_of(client)):
        inputs = [tensor_of(name, each) for name, each in form.items()]
        result = client.infer("iris", inputs, outputs=wanted, request_id="42")
        assert result.as_numpy(OUTPUT).astype(str).tolist() == LABELS
        assert result.get_response().id == "42"


@pytest.mark.parametrize("dtype", DATATYPES)
def test_predictions_from_contents(
    client: v2.InferenceServerClient,
    stub: service_pb2_grpc.GRPCInferenceServiceStub,
    dtype: str,
) -> None:
    field = {"float32": "fp32_contents", "float64": "fp64_contents"}[dtype]
    for form in forms(ROWS, names_of(client)):
        request = service_pb2.ModelInferRequest(model_name="iris")
        for name, array in form.items():
            request.inputs.add(
                name=name,
                datatype=DATATYPES[dtype],
                shape=array.shape,
                contents={field: array.ravel().tolist()},
            )
        (output,) = stub.ModelInfer(request).outputs
        assert [label.decode() for label in output.contents.bytes_contents] == LABELS


def test_a_refusal_is_shown(client: v2.InferenceServerClient) -> None:
    with pytest.raises(v2.InferenceServerException, match="the model has 4 columns") as refused:
        client.infer("iris", [tensor_of("input-0", ROWS[:, :3])])
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
    client.load_model("iris")
    with pytest.raises(v2.InferenceServerException, match="MODEL_NAMES"):
        client.unload_model("iris")
