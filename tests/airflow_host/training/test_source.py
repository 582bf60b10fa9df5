import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_host.training import source
from airflow_host.training.errors import BadData

LIMIT = 1000
MIB = 1024 * 1024


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server of the files in `tmp_path`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_path_a_file_url_and_a_web_address_give_the_same_bytes(tmp_path: Path, web: str) -> None:
    path = tmp_path / "a table.csv"
    path.write_bytes(b"a,b\n1,2\n")

    assert source.read(str(path), max_bytes=LIMIT) == b"a,b\n1,2\n"
    assert source.read(f"file://{path}", max_bytes=LIMIT) == b"a,b\n1,2\n"
    assert source.read(f"{web}/a%20table.csv", max_bytes=LIMIT) == b"a,b\n1,2\n"


def test_an_object_of_an_s3_store_is_read(
    tmp_path: Path, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What such a store answers to a plain read of an object is what a web server answers.
    monkeypatch.setenv("AWS_ENDPOINT_URL", web)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "t.csv").write_bytes(b"a,b\n1,2\n")

    assert source.read("s3://bucket/t.csv", max_bytes=LIMIT) == b"a,b\n1,2\n"


@pytest.mark.parametrize("size", [LIMIT + 1, 9 * MIB])
def test_what_is_too_large_is_refused_wherever_it_is(tmp_path: Path, web: str, size: int) -> None:
    (tmp_path / "large").write_bytes(b"x" * size)

    for uri in (f"{tmp_path}/large", f"{web}/large"):
        with pytest.raises(BadData, match=f"more than {LIMIT} bytes: .*TRAINING_MAX_BYTES"):
            source.read(uri, max_bytes=LIMIT)


def test_what_has_just_the_size_is_read_whole(tmp_path: Path, web: str) -> None:
    (tmp_path / "just").write_bytes(bytes(range(256)) * (9 * MIB // 256))

    for uri in (f"{tmp_path}/just", f"{web}/just"):
        assert source.read(uri, max_bytes=9 * MIB) == (tmp_path / "just").read_bytes()


def test_what_is_not_there_is_named(tmp_path: Path, web: str) -> None:
    for uri in (f"{tmp_path}/gone.csv", f"file://{tmp_path}/gone.csv", f"{web}/gone.csv"):
        with pytest.raises(BadData, match=f"{uri} does not exist"):
            source.read(uri, max_bytes=LIMIT)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="cannot be read: Is a directory"):
        source.read(str(tmp_path), max_bytes=LIMIT)


def test_a_server_that_does_not_answer_is_named() -> None:
    with pytest.raises(BadData, match=r"http://127.0.0.1:9/t.csv cannot be read: .*refused"):
        source.read("http://127.0.0.1:9/t.csv", max_bytes=LIMIT)


@pytest.mark.parametrize("uri", ["table.csv", "./table.csv", "~/table.csv", ""])
def test_a_path_must_be_absolute(uri: str) -> None:
    with pytest.raises(BadData, match="neither a URL nor an absolute path"):
        source.read(uri, max_bytes=LIMIT)


@pytest.mark.parametrize("scheme", ["ftp", "gs", "memory", "filecache::http", "FILE"])
def test_only_known_schemes_are_read(scheme: str) -> None:
    with pytest.raises(BadData, match=f"{scheme}://: the table must be at file://"):
        source.read(f"{scheme}://somewhere/t.csv", max_bytes=LIMIT)


def test_one_scheme_does_not_smuggle_in_another(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a\n1\n")

    with pytest.raises(BadData):
        source.read(f"http::file://{tmp_path}/t.csv", max_bytes=LIMIT)


def test_a_secret_in_a_uri_is_not_shown() -> None:
    uri = "https://user:secret@example.com:8443/t.csv?X-Amz-Signature=secret#secret"

    assert source.public(uri) == "https://example.com:8443/t.csv"
    assert source.public("/data/t?.csv") == "/data/t?.csv"


@given(st.binary(), st.binary())
def test_a_fingerprint_tells_tables_apart(one: bytes, other: bytes) -> None:
    assert (source.fingerprint(one) == source.fingerprint(other)) == (one == other)
