"""Models in ONNX, as `mlflow.onnx` writes them."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from tests.api_host.conftest import iris

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow.onnx
    from mlflow.models import infer_signature

CLASSES = ["setosa", "versicolor", "virginica"]
FLOAT, LONG, TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    **weights: Any,
) -> onnx.ModelProto:
    """A model of some nodes, whose weights have names."""
    initializer = [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()]
    return helper.make_model(
        helper.make_graph(nodes, "graph", inputs, outputs, initializer),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=9,
    )


def value(name: str, kind: int, *shape: int | None) -> onnx.ValueInfoProto:
    """An input or an output."""
    return helper.make_tensor_value_info(name, kind, shape)


def weights(*shape: int) -> "np.ndarray[Any, Any]":
    """Numbers that stay the same."""
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def linear(columns: int = 4) -> onnx.ModelProto:
    """One output of one column."""
    return graph(
        [helper.make_node("MatMul", ["x", "w"], ["score"])],
        [value("x", FLOAT, None, columns)],
        [value("score", FLOAT, None, 1)],
        w=weights(columns, 1),
    )


def large() -> onnx.ModelProto:
    """The same with so many weights that they are in a file of their own."""
    return graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["positive"]),
            helper.make_node("MatMul", ["positive", "v"], ["score"]),
        ],
        [value("x", FLOAT, None, 4)],
        [value("score", FLOAT, None, 1)],
        w=weights(4, 500),
        v=weights(500, 1),
    )


def classifier(*, zipped: bool) -> onnx.ModelProto:
    """A label and the probabilities of the classes; `zipped`: as a map for each row."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    if zipped:
        zip_map = helper.make_node(
            "ZipMap",
            ["shares"],
            ["probabilities"],
            domain="ai.onnx.ml",
            classlabels_strings=CLASSES,
        )
        type_of_map = helper.make_map_type_proto(TEXT, helper.make_tensor_type_proto(FLOAT, ()))
        probabilities = helper.make_value_info(
            "probabilities", helper.make_sequence_type_proto(type_of_map)
        )
    else:
        zip_map = helper.make_node("Identity", ["shares"], ["probabilities"])
        probabilities = value("probabilities", FLOAT, None, 3)
    return graph(
        [*nodes, zip_map],
        [value("x", FLOAT, None, 4)],
        [value("label", LONG, None), probabilities],
        w=weights(4, 3),
    )


def sums() -> onnx.ModelProto:
    """Two inputs of one dimension, two outputs."""
    return graph(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Mul", ["a", "b"], ["product"]),
        ],
        [value("a", FLOAT, None), value("b", FLOAT, None)],
        [value("sum", FLOAT, None), value("product", FLOAT, None)],
    )


def prices() -> onnx.ModelProto:
    """Inputs of several types and of two dimensions, as scikit-learn's pipelines become."""
    return graph(
        [
            helper.make_node("Cast", ["rooms"], ["number"], to=FLOAT),
            helper.make_node(
                "LabelEncoder",
                ["city"],
                ["rent"],
                domain="ai.onnx.ml",
                keys_strings=["Bern", "Chur"],
                values_floats=[20.0, 10.0],
                default_float=5.0,
            ),
            helper.make_node("Mul", ["number", "rent"], ["price"]),
        ],
        [value("rooms", LONG, None, 1), value("city", TEXT, None, 1)],
        [value("price", FLOAT, None, 1)],
    )


def table() -> pd.DataFrame:
    """Rows for those of four columns."""
    return iris()[0][::30].reset_index(drop=True)


def save(model: onnx.ModelProto, folder: Path, example: Any = None, **options: Any) -> Path:
    """Writes a model as a training would, with the signature of `example` and its first rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if example is not None:
            options.setdefault("signature", infer_signature(example))
            options.setdefault("input_example", example[:3])
        mlflow.onnx.save_model(model, folder, pip_requirements=["onnx"], **options)
    return folder
