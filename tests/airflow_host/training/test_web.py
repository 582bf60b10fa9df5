import gzip
import http.server
import ipaddress
import socket
import threading
import time
import zlib
from collections.abc import Iterator

import pytest

from airflow_host.training import source
from airflow_host.training.errors import BadData
from airflow_host.training.settings import TrainingSettings
from tests.airflow_host.training.limits import limits
from tests.airflow_host.training.web import Web, body, redirect, serving

TABLE = b"a,b\n1,2\n"
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine that the tests run on."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def tables() -> Iterator[Web]:
    """An honest server."""
    with serving(body(TABLE)) as web:
        yield web


def allowing(*webs: Web, **more: str) -> TrainingSettings:
    hosts = ",".join(f"127.0.0.1:{web.port}" for web in webs)
    return limits(TRAINING_DATA_HOSTS=hosts, **more)


def test_loopback_is_asked_only_where_an_operator_says_so(tables: Web) -> None:
    assert source.read(f"{tables.url}/t.csv", allowing(tables)) == TABLE
    for uri in (
        tables.url,
        f"http://localhost:{tables.port}",
        f"http://127.1:{tables.port}",
        f"http://[::ffff:127.0.0.1]:{tables.port}",
        f"http://0.0.0.0:{tables.port}",
    ):
        with pytest.raises(BadData, match="TRAINING_DATA_HOSTS"):
            source.read(uri, limits())

    assert len(tables.asked) == 1


def test_metadata_is_not_asked() -> None:
    for host in ("169.254.169.254", "[fd00:ec2::254]", "[::ffff:a9fe:a9fe]", "100.100.100.200"):
        with pytest.raises(BadData, match="where a cloud keeps the secrets of its machines"):
            source.read(f"http://{host}/latest/meta-data/", limits())


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "//169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:9/t.csv",
        "http://[::1]:9/t.csv",
    ],
)
def test_a_redirect_is_judged_like_the_first_address(target: str) -> None:
    with serving(redirect(target)) as web, pytest.raises(BadData, match="TRAINING_DATA_HOSTS"):
        source.read(web.url, allowing(web))


@pytest.mark.parametrize("target", ["file:///etc/passwd", "s3://bucket/t", "ftp://host/t", "http:"])
def test_a_redirect_leads_to_the_web_only(target: str) -> None:
    with serving(redirect(target)) as web, pytest.raises(BadData):
        source.read(web.url, allowing(web))


def test_a_redirect_to_what_is_allowed_is_followed(tables: Web) -> None:
    with serving(redirect(f"{tables.url}/t.csv")) as web:
        assert source.read(web.url, allowing(web, tables)) == TABLE
        # What the operator names is allowed, but not whatever it leads to.
        with pytest.raises(BadData, match=f"port {tables.port}"):
            source.read(web.url, limits(TRAINING_DATA_URI=web.url))


def test_redirects_come_to_an_end() -> None:
    with serving(redirect("/again")) as web:
        with pytest.raises(BadData, match="leads on more than 5 times"):
            source.read(web.url, allowing(web))

        assert len(web.asked) == 6


def test_a_password_goes_to_the_server_that_it_is_for(tables: Web) -> None:
    with serving(redirect(f"{tables.url}/t.csv")) as web:
        uri = f"http://user:p%40ss@127.0.0.1:{web.port}/t.csv"
        assert source.read(uri, allowing(web, tables)) == TABLE

    assert web.asked[0]["Authorization"] == "Basic dXNlcjpwQHNz"
    assert web.asked[0]["path"] == "/t.csv"
    assert "Authorization" not in tables.asked[0]


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    tables: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name server that answers first what is allowed, and then what is not.
    real, answers = socket.getaddrinfo, iter(["192.0.2.1", "127.0.0.1"])
    asked = []

    def rebinding(host: str, *arguments: object, **named: object) -> object:
        if host == "rebinding.example":
            asked.append(host)
            host = next(answers)
        return real(host, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with pytest.raises(BadData, match=r"cannot be read|was not read within"):
        source.read(f"http://rebinding.example:{tables.port}/", limits(TRAINING_MAX_SECONDS="1"))

    assert (asked, tables.asked) == (["rebinding.example"], [])


def test_a_name_with_one_bad_address_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def both(_host: str, *arguments: object, **named: object) -> object:
        found = [real(one, *arguments, **named) for one in ("192.0.2.1", "127.0.0.1")]  # type: ignore[arg-type]
        return [entry for entries in found for entry in entries]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(BadData, match=r"mixed.example, which is 127\.0\.0\.1,"):
        source.read("http://mixed.example/t.csv", limits())


def test_what_a_server_packed_is_unpacked() -> None:
    with serving(body(gzip.compress(TABLE), Content_Encoding="gzip")) as web:
        assert source.read(web.url, allowing(web)) == TABLE
        assert web.asked[0]["Accept-Encoding"] == "identity"


def test_what_unpacks_to_too_much_is_not_unpacked() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS + 16)
    zeros = b"0" * MIB
    packed = b"".join(bomb.compress(zeros) for _ in range(300)) + bomb.flush()
    with (
        serving(body(packed, Content_Encoding="gzip")) as web,
        pytest.raises(BadData, match=f"more than {MIB} bytes.*TRAINING_MAX_BYTES"),
    ):
        source.read(web.url, allowing(web, TRAINING_MAX_BYTES=str(MIB)))


@pytest.mark.parametrize(
    ("content", "encoding"),
    [(TABLE, "br"), (TABLE, "gzip"), (gzip.compress(TABLE)[:-4], "gzip"), (TABLE, "gzip, gzip")],
)
def test_what_is_packed_otherwise_or_badly_is_told(content: bytes, encoding: str) -> None:
    with (
        serving(body(content, Content_Encoding=encoding)) as web,
        pytest.raises(BadData, match="cannot be read"),
    ):
        source.read(web.url, allowing(web))


def test_an_answer_that_is_cut_off_is_no_table() -> None:
    with serving(body(TABLE, Content_Length="100")) as web, pytest.raises(BadData):
        source.read(web.url, allowing(web))


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_sends_byte_by_byte_is_given_up(start: bytes) -> None:
    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(start)
        while not web.closing.wait(0.05):
            request.wfile.write(b"x")

    web = Web()
    with serving(drip, web):
        begun = time.monotonic()
        with pytest.raises(BadData, match=r"was not read within 1 s.*TRAINING_MAX_SECONDS"):
            source.read(web.url, allowing(web, TRAINING_MAX_SECONDS="1"))

        assert time.monotonic() - begun < 20


def test_a_proxy_is_asked_though_it_is_on_this_machine(
    tables: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:password@127.0.0.1:{tables.port}")

    assert source.read("http://only-the-proxy-knows.invalid/t.csv", limits()) == TABLE
    assert tables.asked[0]["path"] == "http://only-the-proxy-knows.invalid/t.csv"


def test_a_proxy_is_no_way_around(tables: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", tables.url)
    for host in ("169.254.169.254", "127.0.0.1", "localhost"):
        with pytest.raises(BadData, match="TRAINING_DATA_HOSTS"):
            source.read(f"http://{host}/t.csv", limits())

    assert tables.asked == []


def test_a_proxy_is_left_out_where_the_environment_says_so(
    tables: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert source.read(tables.url, allowing(tables)) == TABLE


def test_a_network_may_be_allowed_as_a_whole(tables: Web) -> None:
    network = str(ipaddress.ip_network("127.0.0.0/8"))

    assert source.read(tables.url, limits(TRAINING_DATA_HOSTS=network)) == TABLE
    assert threading.active_count() < 10
