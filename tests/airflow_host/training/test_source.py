import http.server
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_host.training import source
from airflow_host.training.errors import BadData
from airflow_host.training.settings import TrainingSettings
from tests.airflow_host.training.limits import limits
from tests.airflow_host.training.web import body, serving

LIMIT = 1000
MIB = 1024 * 1024
TABLE = b"a,b\n1,2\n"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server of the files in `tmp_path`."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        path = tmp_path / unquote(request.path).removeprefix("/")
        if path.is_file():
            body(path.read_bytes())(request)
        else:
            request.send_error(404)

    with serving(answer) as server:
        yield server.url


@pytest.fixture
def settings(tmp_path: Path) -> TrainingSettings:
    """What allows what the tests here use."""
    return limits(
        TRAINING_DATA_FOLDERS=str(tmp_path),
        TRAINING_DATA_HOSTS="127.0.0.1",
        TRAINING_MAX_BYTES=str(LIMIT),
    )


def test_a_path_a_file_url_and_a_web_address_give_the_same_bytes(
    tmp_path: Path, web: str, settings: TrainingSettings
) -> None:
    path = tmp_path / "a table.csv"
    path.write_bytes(TABLE)

    uris = (f"{path}", f"file://{path}", f"file://localhost{path}", f"{web}/a%20table.csv")
    assert [source.read(uri, settings) for uri in uris] == [TABLE] * 4


def test_an_object_of_an_s3_store_is_read(
    tmp_path: Path, web: str, settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What such a store answers to a plain read of an object is what a web server answers.
    monkeypatch.setenv("AWS_ENDPOINT_URL", web)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "t.csv").write_bytes(TABLE)

    assert source.read("s3://bucket/t.csv", settings) == TABLE


def test_keys_that_nobody_gave_are_not_asked_for_at_the_cloud(
    tmp_path: Path, settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(BadData, match=r"without keys: .*AWS_ACCESS_KEY_ID.*TRAINING_DATA_HOSTS"):
        source.read("s3://bucket/t.csv", settings)


@pytest.mark.parametrize(
    "name", ["", "bucket", "bucket/", "b/t.csv", "b/../c", "bu cket/t.csv", "a:b@host/t.csv"]
)
def test_an_object_that_is_none_is_told(settings: TrainingSettings, name: str) -> None:
    with pytest.raises(BadData, match="names no object"):
        source.read(f"s3://{name}", settings)


@pytest.mark.parametrize("size", [LIMIT + 1, 9 * MIB])
def test_what_is_too_large_is_refused_wherever_it_is(
    tmp_path: Path, web: str, settings: TrainingSettings, size: int
) -> None:
    (tmp_path / "large").write_bytes(b"x" * size)

    for uri in (f"{tmp_path}/large", f"{web}/large"):
        with pytest.raises(BadData, match=f"more than {LIMIT} bytes: .*TRAINING_MAX_BYTES"):
            source.read(uri, settings)


def test_what_has_just_the_size_is_read_whole(
    tmp_path: Path, web: str, settings: TrainingSettings
) -> None:
    (tmp_path / "just").write_bytes(bytes(range(256)) * (9 * MIB // 256))
    larger = settings.model_copy(update={"training_max_bytes": 9 * MIB})

    for uri in (f"{tmp_path}/just", f"{web}/just"):
        assert source.read(uri, larger) == (tmp_path / "just").read_bytes()


def test_what_is_not_there_is_named(tmp_path: Path, web: str, settings: TrainingSettings) -> None:
    for uri in (f"{tmp_path}/gone.csv", f"file://{tmp_path}/gone.csv", f"{web}/gone.csv"):
        with pytest.raises(BadData, match=f"{uri} does not exist"):
            source.read(uri, settings)


def test_a_folder_is_no_table(tmp_path: Path, settings: TrainingSettings) -> None:
    with pytest.raises(BadData, match="cannot be read: it is a folder"):
        source.read(str(tmp_path), settings)


def test_a_server_that_does_not_answer_is_named(settings: TrainingSettings) -> None:
    with pytest.raises(BadData, match=r"http://127.0.0.1:9/t.csv cannot be read: .*refused"):
        source.read("http://127.0.0.1:9/t.csv", settings)


@pytest.mark.parametrize("uri", ["table.csv", "./table.csv", "~/table.csv", ""])
def test_a_path_must_be_absolute(uri: str, settings: TrainingSettings) -> None:
    with pytest.raises(BadData, match="neither a URL nor an absolute path"):
        source.read(uri, settings)


@pytest.mark.parametrize("scheme", ["ftp", "gs", "memory", "filecache::http", "FILE"])
def test_only_known_schemes_are_read(scheme: str, settings: TrainingSettings) -> None:
    with pytest.raises(BadData, match=f"{scheme}://: the table must be at file://"):
        source.read(f"{scheme}://somewhere/t.csv", settings)


def test_one_scheme_does_not_smuggle_in_another(
    tmp_path: Path, settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "t.csv").write_bytes(b"a\n1\n")

    for uri in (
        f"http::file://{tmp_path}/t.csv",
        f"s3://bucket/t.csv::file://{tmp_path}/t.csv",
        f"s3://::file://{tmp_path}/t.csv",
        f"file://elsewhere{tmp_path}/t.csv",
    ):
        with pytest.raises(BadData):
            source.read(uri, settings)


def test_what_the_operator_names_is_read_wherever_it_is(tmp_path: Path, web: str) -> None:
    (tmp_path / "t.csv").write_bytes(TABLE)

    for uri in (f"{tmp_path}/t.csv", f"file://{tmp_path}/t.csv", f"{web}/t.csv"):
        assert source.read(uri, limits(TRAINING_DATA_URI=uri)) == TABLE
        with pytest.raises(BadData, match=r"TRAINING_DATA_(FOLDERS|HOSTS)"):
            source.read(uri, limits(TRAINING_DATA_URI="/srv/tables/other.csv"))


def test_a_secret_in_a_uri_is_not_shown() -> None:
    uri = "https://user:secret@example.com:8443/t.csv?X-Amz-Signature=secret#secret"

    assert source.public(uri) == "https://example.com:8443/t.csv"
    assert source.public("/data/t?.csv") == "/data/t?.csv"


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:secret@127.0.0.1:9/t.csv?key=secret",
        "http://user:secret@[::1/t.csv",
        "http://user:secret@/t.csv",
        "http://user:secret@127.0.0.1:port/t.csv",
        "https://user:secret@127.0.0.1/t.csv",
        "ftp://user:secret@127.0.0.1/t.csv",
        "s3://user:secret@bucket/t.csv",
    ],
)
def test_no_failure_shows_one_either(uri: str, settings: TrainingSettings) -> None:
    for allowed in (settings, limits()):
        with pytest.raises(BadData) as failure:
            source.read(uri, allowed)
        assert "secret" not in str(failure.value)


@given(st.sampled_from(["", "/", "file://", "file:///", "/nowhere/tables/../"]), st.text())
def test_no_path_is_read_that_is_not_allowed(start: str, rest: str) -> None:
    nothing = limits(TRAINING_DATA_FOLDERS="/nowhere/tables")

    with pytest.raises(BadData):
        source.read(start + rest, nothing)


@given(st.binary(), st.binary())
def test_a_fingerprint_tells_tables_apart(one: bytes, other: bytes) -> None:
    assert (source.fingerprint(one) == source.fingerprint(other)) == (one == other)
