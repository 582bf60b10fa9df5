from pathlib import Path

import pytest

from protocol import PROTO, ROOT, compiled


def test_what_is_committed_answers_the_proto_file() -> None:
    files = compiled(ROOT, PROTO)
    assert [path.name for path in files] == ["open_inference_pb2.py", "open_inference_pb2.pyi"]
    for path, content in files.items():
        assert path.read_text() == content, "run ./pants protocol"


def test_a_mistake_in_a_proto_file_is_told(tmp_path: Path) -> None:
    proto = tmp_path / "wrong.proto"
    proto.write_text('syntax = "proto3"; message Wrong { string name = 0; }')
    with pytest.raises(SystemExit, match="is not right"):
        compiled(tmp_path, proto)
