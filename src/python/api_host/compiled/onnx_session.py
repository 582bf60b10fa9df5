"""Runs ONNX models, by a runtime that tells nobody of it and takes no more than it needs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# By itself it makes an identifier of this machine below the home directory, and reports to its
# maker what it runs. It reads this once, as it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

INPUT, OUTPUT = "x", "y"

_FATAL = 4

onnxruntime.set_default_logger_severity(_FATAL)


def open_session(model: bytes) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """The function of a model of ours that takes `INPUT` and gives `OUTPUT`."""
    run = _open(model).run
    return lambda matrix: run([OUTPUT], {INPUT: matrix})[0]


def open_file(path: Path) -> onnxruntime.InferenceSession:
    """A model in a file, whose weights may be in others beside it."""
    return _open(str(path))


def _open(model: bytes | str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # It would keep what the largest request ever took.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Not the runtime's own format, which a file could claim to have.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
