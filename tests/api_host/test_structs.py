"""Structs are worked out before threads read them."""

import sys
from types import FrameType

import msgspec
import pytest

from api_host import questions, trainings
from api_host.auth import keys
from api_host.models import description, registry, store
from api_host.structs import worked_out

READ = {
    description: ["Description"],
    store: ["_Manifest"],
    registry: ["_Page", "_VersionAnswer", "_RunAnswer", "_FilesAnswer", "_UriAnswer"],
    keys: ["KeysFile"],
    trainings: ["_Tasks"],
    questions: ["TrainingOrder", "InferenceRequest", "IndexRequest", "LoadRequest"],
}
STRUCTS = [vars(module)[name] for module, names in READ.items() for name in names]


class Kettle(msgspec.Struct):
    litres: float


@worked_out
class Teapot(msgspec.Struct):
    litres: float


def is_worked_out(struct: type[msgspec.Struct]) -> bool:
    """Whether msgspec no longer asks what the fields of a struct are."""
    asked = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "get_class_annotations":
            asked.append(frame)

    sys.setprofile(note)
    try:
        msgspec.json.Decoder(struct)
    finally:
        sys.setprofile(None)
    return not asked


def test_a_struct_is_worked_out_when_it_is_read_first_or_as_it_is_defined() -> None:
    assert not is_worked_out(Kettle)
    assert is_worked_out(Kettle)
    assert is_worked_out(Teapot)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_no_two_threads_are_the_first_to_read_a_struct(struct: type[msgspec.Struct]) -> None:
    assert is_worked_out(struct)
