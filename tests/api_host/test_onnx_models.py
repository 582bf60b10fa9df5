"""Models in ONNX: the answers of MLflow by each protocol, and no file that does harm."""

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from api_host.batches import predict_all
from api_host.bounds import Bounds
from api_host.errors import ModelRefusedError
from api_host.models.catalog import Served
from api_host.models.flavors.onnx_outline import read_outline
from api_host.models.model import Model, load
from api_host.models.registry import ModelVersion
from api_host.outputs import Outputs
from api_host.rpc.open_inference_pb2 import ModelInferRequest
from api_host.rpc.scoring import infer
from api_host.settings import ApiSettings
from tests.api_host import onnx_models
from tests.api_host.conftest import Start, until, until_served
from tests.api_host.onnx_models import (
    FLOAT,
    LONG,
    classifier,
    graph,
    large,
    linear,
    prices,
    save,
    sums,
    table,
    value,
)
from tests.api_host.registry_server import RegistryServer
from tests.api_host.scoring_server import serving

PAIRS = pd.DataFrame({"a": [1.5, 2.0, 3.0], "b": [0.5, 4.0, -1.0]})
HOMES = pd.DataFrame({"rooms": [3, 4], "city": ["Bern", "Chur"]})


def split_of(frame: pd.DataFrame) -> bytes:
    return json.dumps({"dataframe_split": frame.to_dict(orient="split")}).encode()


def load_outputs(folder: Path, rows: Any) -> Outputs:
    model = load(folder)
    assert model.signature is not None
    outputs = model.predict(model.signature.from_rows(rows))
    assert isinstance(outputs, Outputs)
    return outputs


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (linear(), table()),
        (classifier(zipped=True), table()),
        (classifier(zipped=False), table()),
        (sums(), PAIRS),
        (large(), table().to_numpy()),
        (classifier(zipped=False), table().to_numpy()),
    ],
    ids=["one output", "maps", "lengths that differ", "two inputs", "array", "array, two outputs"],
)
def test_invocations_are_answered_as_mlflow_does(
    tmp_path: Path, model: onnx.ModelProto, example: Any
) -> None:
    folder = save(model, tmp_path / "model", example)
    if isinstance(example, np.ndarray):
        bodies = [json.dumps({form: example.tolist()}).encode() for form in ("inputs", "instances")]
    else:
        records = json.dumps({"dataframe_records": example.to_dict(orient="records")}).encode()
        bodies = [split_of(example), records, split_of(example[:1]), split_of(example.iloc[:, 1:])]
    with serving(folder, tmp_path / "state") as peers:
        for body in bodies:
            ours, theirs = peers.ask("POST", "/invocations", body, "application/json")
            assert ours.is_success == theirs.is_success, (ours.text, theirs.text)
            if ours.is_success:
                assert ours.json() == theirs.json()
            else:
                assert ours.is_client_error


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("onnx") / "model"
    return load(save(classifier(zipped=True), folder, table()))


def test_each_request_of_a_batch_gets_the_rows_that_are_its_own(loaded: Model) -> None:
    assert loaded.signature is not None
    assert loaded.joins
    rows = table().to_dict(orient="records")
    tables = [loaded.signature.from_rows(part) for part in (rows[:1], rows[1:4], rows[4:])]
    found: list[Outputs] = list(predict_all(loaded, tables))
    together = loaded.predict(loaded.signature.from_rows(rows))
    assert [len(outputs.by_row()) for outputs in found] == [1, 3, 1]
    for name, array in together.as_tensors().items():
        parts = [outputs.as_tensors()[name] for outputs in found]
        np.testing.assert_allclose(np.concatenate(parts), array, rtol=1e-6)


def test_numbers_are_predicted_from_as_the_data_frame_of_them_is(loaded: Model) -> None:
    assert loaded.signature is not None
    rows = loaded.signature.from_rows(table().to_dict(orient="records"))
    quick = loaded.engines.ask_engine(rows)
    slow = loaded.engines.original(rows.natural())
    assert quick is not None
    assert quick.as_mlflow().to_dict() == slow.as_mlflow().to_dict()


def test_columns_of_other_types_become_what_the_inputs_are(tmp_path: Path) -> None:
    folder = save(prices(), tmp_path / "model", HOMES)
    outputs = load_outputs(folder, HOMES.to_dict(orient="records"))
    assert outputs.by_row().tolist() == [60.0, 40.0]


def test_whole_numbers_are_taken_where_the_model_wants_others(tmp_path: Path) -> None:
    whole = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    outputs = load_outputs(save(sums(), tmp_path / "model", whole), [{"a": 1, "b": 3}])
    assert outputs.by_row().tolist() == [{"sum": 4.0, "product": 3.0}]


@pytest.mark.anyio
async def test_every_protocol_answers_with_the_names_of_the_outputs(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    registry.promote("iris", save(classifier(zipped=True), tmp_path / "model", table()))
    rows = table()[:2].to_dict(orient="records")
    async with start(settings) as api:
        await until_served(api, "1")
        described = (await api.get("/v1/models/iris")).json()
        assert described["flavor"] == "onnx"
        assert described["engine"]["rows"] == [{"from": 1, "to": None, "engine": "onnxruntime"}]
        answer = await api.post("/v1/models/iris/predict", json={"rows": rows})
        first = answer.json()["predictions"][0]
        assert first.keys() == {"label", "probabilities"}
        assert first["probabilities"].keys() == set(onnx_models.CLASSES)
        lines = await api.post(
            "/v1/models/iris/predict",
            content="\n".join(map(json.dumps, rows)),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert json.loads(lines.text.splitlines()[0])["prediction"] == first
        metadata = (await api.get("/v2/models/iris")).json()
        assert metadata["platform"] == "onnxruntime_onnx"
        inputs = [
            {
                "name": "input-0",
                "datatype": "FP64",
                "shape": [2, 4],
                "data": table()[:2].to_numpy().tolist(),
            }
        ]
        outputs = (await api.post("/v2/models/iris/infer", json={"inputs": inputs})).json()[
            "outputs"
        ]
        told = {each["name"]: each["datatype"] for each in metadata["outputs"]}
        assert {each["name"]: each["datatype"] for each in outputs} == told
        assert [each["shape"] for each in outputs] == [[2], [2, 3]]
        assert outputs[1]["data"][:3] == pytest.approx([*first["probabilities"].values()])
        wanted = {"inputs": inputs, "outputs": [{"name": "label"}]}
        one = (await api.post("/v2/models/iris/infer", json=wanted)).json()["outputs"]
        assert [each["name"] for each in one] == ["label"]


def test_grpc_answers_with_them_too(loaded: Model) -> None:
    served = Served(ModelVersion("iris", "1", 1, "run-1"), loaded, None, datetime.now(UTC))
    request = ModelInferRequest(model_name="iris")
    tensor = request.inputs.add(name="input-0", datatype="FP64", shape=[2, 4])
    tensor.contents.fp64_contents.extend(table()[:2].to_numpy().ravel())
    question = infer(served, request, bounds=Bounds())
    answer = question.answer({"predict": loaded.predict(question.table)})
    told = [(each.name, each.datatype, [*each.shape]) for each in answer.outputs]
    assert told == [("label", "INT64", [2]), ("probabilities", "FP32", [2, 3])]


@pytest.mark.anyio
async def test_weights_in_a_file_of_their_own_come_with_the_model(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    folder = save(large(), tmp_path / "model", table())
    assert read_outline(folder / "model.onnx").files
    registry.promote("iris", folder)
    async with start(settings) as api:
        await until_served(api, "1")
        rows = table().to_dict(orient="records")
        answer = await api.post("/v1/models/iris/predict", json={"rows": rows})
        alone = load_outputs(
            save(large(), tmp_path / "b", table(), save_as_external_data=False), rows
        )
        assert answer.json()["predictions"] == pytest.approx(alone.by_row().tolist(), rel=1e-5)


@pytest.mark.anyio
async def test_a_model_that_leads_elsewhere_is_refused_before_anything_is_fetched(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path
) -> None:
    folder = save(large(), tmp_path / "model", table())
    place(folder / "model.onnx", location="../../secret")
    registry.promote("iris", folder)
    async with start(settings) as api:

        async def problem() -> str:
            models = (await api.get("/v1/models")).json()["models"]
            return (models[0]["problem"] or "") if models else ""

        assert "which is not a file of its own folder" in await until(problem)


def place(file: Path, **entries: str) -> None:
    """Says of each tensor's weights that they are somewhere else."""
    model = onnx.load_model(file, load_external_data=False)
    for tensor in model.graph.initializer:
        told = {entry.key: entry.value for entry in tensor.external_data} | entries
        del tensor.external_data[:]
        for key, text in told.items():
            tensor.external_data.add(key=key, value=text)
    file.write_bytes(model.SerializeToString())


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    """A model whose weights are in a file of their own."""
    return save(large(), tmp_path / "model", table())


@pytest.mark.parametrize(
    "location",
    ["../x", "/etc/passwd", "a/b", "..", "", "MLmodel", "model.onnx", "*/_ORT_MEM_ADDR_/*", "a\\b"],
)
def test_weights_that_are_not_in_a_file_beside_it_are_refused(apart: Path, location: str) -> None:
    place(apart / "model.onnx", location=location)
    with pytest.raises(ModelRefusedError, match="which is not a file of its own folder"):
        load(apart)


def test_a_link_to_another_file_is_not_followed(apart: Path, tmp_path: Path) -> None:
    [name] = read_outline(apart / "model.onnx").files
    (apart / name).rename(tmp_path / "elsewhere")
    (apart / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelRefusedError, match="not among its files"):
        load(apart)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"offset": "99999999"}, "beyond the end"),
        ({"length": "99999999"}, "beyond the end"),
        ({"offset": "-1"}, "no place in a file"),
        ({"length": "1e3"}, "no place in a file"),
        ({"length": "9" * 30}, "no place in a file"),
        ({"location": "other"}, "not among its files"),
    ],
)
def test_weights_that_are_not_there_are_refused(
    apart: Path, entries: dict[str, str], reason: str
) -> None:
    place(apart / "model.onnx", **entries)
    with pytest.raises(ModelRefusedError, match=reason):
        load(apart)


def test_weights_that_were_cut_off_are_refused(apart: Path) -> None:
    [name] = read_outline(apart / "model.onnx").files
    (apart / name).write_bytes((apart / name).read_bytes()[:-1])
    with pytest.raises(ModelRefusedError, match="beyond the end"):
        load(apart)


def test_weights_inside_of_an_attribute_are_looked_at_too(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="t", data_type=FLOAT, dims=[4, 1], data_location="EXTERNAL")
    tensor.external_data.add(key="location", value="/etc/passwd")
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["w"], value=tensor)], "inner", [], []
    )
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    file = tmp_path / "model.onnx"
    file.write_bytes(graph(nodes, [], []).SerializeToString())
    with pytest.raises(ModelRefusedError, match="/etc/passwd"):
        read_outline(file)


def test_operators_of_others_are_refused_unless_the_model_defines_them(tmp_path: Path) -> None:
    nodes = [helper.make_node("Twice", ["x"], ["y"], domain="their.own")]
    ends = [value("x", FLOAT, None, 4)], [value("y", FLOAT, None, 4)]
    model = graph(nodes, *ends)
    model.opset_import.append(helper.make_opsetid("their.own", 1))
    unknown = save(model, tmp_path / "unknown", table())
    with pytest.raises(ModelRefusedError, match=r"operator 'Twice' of 'their\.own'"):
        load(unknown)
    add = [helper.make_node("Add", ["x", "x"], ["y"])]
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("their.own", "Twice", ["x"], ["y"], add, opset))
    outputs = load_outputs(save(model, tmp_path / "known", table()), table().to_dict("records"))
    np.testing.assert_allclose(outputs.by_row(), table().to_numpy() * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "example", "reason"),
    [
        (linear(3), table(), "takes 3 columns, and its signature has 4"),
        (sums(), table(), "its signature has no column for"),
        (sums(), table().to_numpy(), "its signature has no names for them"),
        (graph([helper.make_node("Cast", ["x"], ["y"], to=FLOAT)],
               [value("x", onnx.TensorProto.BFLOAT16, None, 4)], [value("y", FLOAT, None, 4)]),
         table(), r"its x is tensor\(bfloat16\)"),
        (graph([helper.make_node("SequenceConstruct", ["x"], ["y"])],
               [value("x", FLOAT, None, 4)],
               [helper.make_tensor_sequence_value_info("y", FLOAT, None)]),
         table(), r"its y is seq\(tensor\(float\)\)"),
        (graph([helper.make_node("Abs", ["x"], ["y"])],
               [value("x", LONG, None, 4)], [value("y", LONG, None, 4)]),
         table(), "x must be int64, and is float64"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_with_a_reason(
    tmp_path: Path, model: onnx.ModelProto, example: Any, reason: str
) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        load(save(model, tmp_path / "model", example))


@pytest.mark.parametrize(
    "content", [b"", b"ORTM" * 100, b"\x08\x00\x00\x00ORTM" * 100, b"\x80\x04N.", b"\x3a" * 1000]
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = save(linear(), tmp_path / "model", table())
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelRefusedError, match=r"model\.onnx"):
        load(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = save(classifier(zipped=True), tmp_path_factory.mktemp("whole") / "model", table())
    return (folder / "model.onnx").read_bytes()


@given(place=st.integers(min_value=0), content=st.binary(max_size=8), cut=st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_spoiled_file_is_refused_or_predicts(
    whole: bytes, place: int, content: bytes, cut: bool
) -> None:
    text = bytearray(whole)
    begin = place % len(text)
    text[begin : None if cut else begin + len(content)] = content
    with TemporaryDirectory() as parent:
        folder = Path(parent)
        (folder / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}")
        (folder / "model.onnx").write_bytes(text)
        try:
            load(folder)
        except ModelRefusedError:
            return


def test_text_that_is_missing_is_no_text(tmp_path: Path) -> None:
    model = load(save(prices(), tmp_path / "model", HOMES))
    frame = pd.DataFrame({"rooms": [3], "city": [None]})
    with pytest.raises(ValueError, match="city must be text"):
        model.engines.original(frame)
