"""A large file of a model is read while others have their turn."""

import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from zipfile import ZipFile

import pytest
from skops.io import _utils

from api_host.models.steps import read_in_steps

OBJECTS = 300_000
TURNS = 20


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    interval = sys.getswitchinterval()
    monkeypatch.setattr(_utils, "json", json)  # Put back at the end.
    sys.setswitchinterval(0.0002)
    read_in_steps()
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("steps")
def test_other_threads_have_their_turn_while_skops_reads_the_description_of_a_model() -> None:
    content = io.BytesIO()
    with ZipFile(content, "w") as file:
        schema = {"protocol": 2, "content": [{"a": [1.5, 2.5]}] * OBJECTS}
        file.writestr("schema.json", json.dumps(schema))
    found = []

    def read() -> None:
        with ZipFile(content) as file:
            found.append(_utils.read_schema(file)[0])

    reader = threading.Thread(target=read)
    reader.start()
    turns = 0
    while reader.is_alive():
        time.sleep(0.0001)
        turns += 1
    assert found == [schema]
    assert turns > TURNS
