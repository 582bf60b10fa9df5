"""What is signed of a model, and how a change of it shows."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit.signing.bundle import seal, unseal
from hostkit.signing.errors import BadSignatureError
from hostkit.signing.keys import make_key, read_private_key
from hostkit.signing.statement import (
    SIGNATURE_FILE,
    Identity,
    Statement,
    decode,
    digests,
    is_inside,
)

KEY = read_private_key(make_key())
IRIS = Identity("iris", "run-1", "m-1")
FILES = {"MLmodel": "a" * 64, "model.skops": "b" * 64, "data/rows.json": "c" * 64}

names = st.text(min_size=1, max_size=20).filter(is_inside)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
files = st.dictionaries(names, hashes, min_size=1, max_size=5).filter(
    lambda found: SIGNATURE_FILE not in found
)
identities = st.builds(Identity, st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))


def signed(says: Statement) -> Statement:
    return decode(unseal(seal(says.encode(), KEY), [KEY.public_key()]))


@given(identity=identities, files=files)
def test_a_signature_says_what_was_signed(identity: Identity, files: dict[str, str]) -> None:
    says = signed(Statement(identity, files))
    says.check_identity(identity)
    says.check_files(files)


@given(before=files, after=files)
def test_any_other_set_of_files_is_refused(before: dict[str, str], after: dict[str, str]) -> None:
    says = signed(Statement(IRIS, before))
    if before == after:
        says.check_files(after)
        return
    with pytest.raises(BadSignatureError):
        says.check_files(after)


@given(before=identities, after=identities)
def test_any_other_model_is_refused(before: Identity, after: Identity) -> None:
    says = signed(Statement(before, FILES))
    if before == after:
        says.check_identity(after)
        return
    with pytest.raises(BadSignatureError, match="its signature is of another model"):
        says.check_identity(after)


@given(place=st.integers(min_value=0), byte=st.integers(0, 255))
def test_a_changed_byte_of_the_signature_is_refused_or_changes_nothing(
    place: int, byte: int
) -> None:
    says = Statement(IRIS, FILES)
    file = bytearray(seal(says.encode(), KEY))
    file[place % len(file)] = byte
    try:
        found = decode(unseal(bytes(file), [KEY.public_key()]))
    except BadSignatureError:
        return
    assert found == says


@given(content=st.binary(max_size=200))
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(BadSignatureError):
        unseal(content, [KEY.public_key()])
    with pytest.raises(BadSignatureError):
        decode(content)


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["_type", "predicate", "predicateType", "resources", "registered"]),
            inner,
        ),
        max_leaves=10,
    )
)
def test_another_statement_by_the_same_key_is_refused(document: Any) -> None:
    payload = json.dumps(document).encode()
    assert unseal(seal(payload, KEY), [KEY.public_key()]) == payload
    with pytest.raises(BadSignatureError, match="its signature is of something else"):
        decode(payload)


@pytest.mark.parametrize(
    "name", ["../MLmodel", "/etc/passwd", "a/../../b", "./a", "a//b", "a/", "", ".", "a\nb", "a\\b"]
)
def test_a_path_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(BadSignatureError, match="not a path in the model's folder"):
        decode(Statement(IRIS, {name: "a" * 64}).encode())


def test_a_file_that_is_named_twice_is_refused() -> None:
    document = json.loads(Statement(IRIS, {"MLmodel": "a" * 64}).encode())
    document["predicate"]["resources"] *= 2
    with pytest.raises(BadSignatureError, match="names a file twice"):
        decode(json.dumps(document).encode())


def test_what_is_wrong_is_named() -> None:
    says = Statement(IRIS, FILES)
    with pytest.raises(BadSignatureError, match=r"its file model\.skops is not the one"):
        says.check_files({**FILES, "model.skops": "0" * 64})
    with pytest.raises(BadSignatureError, match="its file MLmodel was signed and is gone"):
        says.check_files({name: FILES[name] for name in FILES if name != "MLmodel"})
    with pytest.raises(BadSignatureError, match=r"its file 'evil\.py' was not there"):
        says.check_files({**FILES, "evil.py": "0" * 64})


def test_the_files_of_a_folder_and_of_those_in_it_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows.json").write_bytes(b"")
    (tmp_path / SIGNATURE_FILE).write_bytes(b"not itself")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digests(tmp_path) == {"data/rows.json": empty}


@pytest.mark.parametrize(
    ("source", "model_id"),
    [("models:/m-1", "m-1"), ("models:/iris/3", ""), ("s3://bucket/m-1", ""), (None, "")],
)
def test_a_version_says_what_was_logged(source: str | None, model_id: str) -> None:
    assert Identity.of("iris", "run", source) == Identity("iris", "run", model_id)
    assert Identity.of("iris", None, source).run_id == ""


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.skops").symlink_to("/etc/passwd")
    with pytest.raises(BadSignatureError, match=r"its file model\.skops is a link"):
        digests(tmp_path)
