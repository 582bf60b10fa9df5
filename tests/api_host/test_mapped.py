"""Large arrays of a model are in memory once, however many workers serve it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from api_host.models.mapped import LARGE_BYTES, NAME
from api_host.models.model import load
from tests.api_host.conftest import save

ROWS, COLUMNS = 20_000, 20
BYTES = ROWS * COLUMNS * 8
SHARED, PRIVATE = ("Shared_Clean", "Shared_Dirty"), ("Private_Clean", "Private_Dirty")

WORKER = """
import sys
from pathlib import Path
from api_host.models.model import load
model = load(Path(sys.argv[1]), compiles=False)
model.predict(model.signature.from_rows([[0.0] * 20]))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that keeps all that it has learned from: 3 MB in one array."""
    x = np.random.default_rng(0).normal(size=(ROWS, COLUMNS))
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(algorithm="brute"))
    return save(model.fit(x, x[:, 0] > 0), tmp_path_factory.mktemp("mapped") / "model", x)


@pytest.fixture
def folder(fitted: Path, tmp_path: Path) -> Path:
    """A copy of it, as the store keeps one."""
    for file in fitted.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def predictions(folder: Path) -> Any:
    model = load(folder, compiles=False)
    assert model.signature is not None
    rows = np.random.default_rng(1).normal(size=(50, COLUMNS))
    return model.predict(model.signature.from_rows(rows.tolist())).tolist()


def mapping(process: "subprocess.Popen[str]", file: Path) -> dict[str, int]:
    """The bytes of a file that a process has in memory, by kind."""
    found: dict[str, int] = {}
    inside = False
    for line in Path(f"/proc/{process.pid}/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            inside = line.endswith(str(file))
        elif inside and rest[-1] == "kB":
            found[name[:-1]] = found.get(name[:-1], 0) + int(rest[0]) * 1024
    return found


@pytest.fixture
def workers(folder: Path) -> Iterator[list["subprocess.Popen[str]"]]:
    """Two processes that have loaded the model and predicted with it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = (sys.executable, "-c", WORKER, str(folder))
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        found = []
        for _ in range(2):
            process = subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe)
            found.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in found:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield found


def test_two_workers_have_the_same_pages(
    folder: Path, workers: list["subprocess.Popen[str]"]
) -> None:
    for process in workers:
        found = mapping(process, folder / NAME.format(0))
        assert sum(found[kind] for kind in SHARED) > 0.9 * BYTES
        assert sum(found[kind] for kind in PRIVATE) < 0.1 * BYTES


def test_the_predictions_are_those_of_the_model(fitted: Path, folder: Path) -> None:
    assert predictions(folder) == predictions(folder)
    assert (folder / NAME.format(0)).stat().st_size > BYTES > LARGE_BYTES
    assert not (folder / NAME.format(1)).exists()


@pytest.mark.parametrize("damage", ["cut", "other", "empty"])
def test_a_file_that_is_not_what_it_was_is_written_again(folder: Path, damage: str) -> None:
    expected = predictions(folder)
    file = folder / NAME.format(0)
    whole = file.read_bytes()
    broken = {"cut": whole[: len(whole) // 2], "other": whole[:-8] + bytes(8), "empty": b""}
    file.write_bytes(broken[damage])
    assert predictions(folder) == expected
    assert file.read_bytes() == whole


def test_a_model_is_served_where_no_file_can_be_written(folder: Path) -> None:
    expected = predictions(folder)
    file = folder / NAME.format(0)
    file.unlink()
    file.mkdir()
    assert predictions(folder) == expected
