import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.provisional import domains
from pydantic import TypeAdapter, ValidationError

from hostkit.network import HttpUrl, ListenAddress, Port, is_host, is_loopback, local_url, redacted

ADDRESSES = st.ip_addresses()
HOSTS = st.one_of(
    domains(max_length=60),
    st.just("mlflow"),
    st.just("my_server"),
    ADDRESSES.map(lambda address: f"[{address}]" if address.version == 6 else str(address)),
)
PATHS = st.sampled_from(["", "/", "/mlflow", "/behind/a/proxy/"])
PORTS = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
NO_URLS = {
    "airflow:8080": "try 'http://airflow:8080'",
    "airflow": "try 'http://airflow'",
    "ftp://airflow": "'ftp'",
    "http://": "host",
    "http://air flow": "blanks",
    "http://airflow:port": "not a URL",
    "http://airflow:65536": "not a URL",
    "http://[::1": "not a URL",
    "http://user:s3cret@airflow": "password",
    "http://airflow?a=b": "'?'",
    "http://airflow#top": "'#'",
    "http://*:8080": "no host",
    "http://a,b": "no host",
    "http://-airflow": "no host",
    "http://höst": "no host",
    f"http://{'a' * 64}": "no host",
}


def http_url(text: str) -> str:
    url: str = TypeAdapter(HttpUrl).validate_python(text)
    return url


@given(scheme=st.sampled_from(["http", "https"]), host=HOSTS, port=PORTS, path=PATHS)
def test_a_base_url_is_taken_without_its_last_slash(
    scheme: str, host: str, port: str, path: str
) -> None:
    url = http_url(f"{scheme}://{host}{port}{path}")
    assert url == f"{scheme}://{host}{port}{path.rstrip('/')}"
    assert http_url(url) == url


@pytest.mark.parametrize(("text", "reason"), NO_URLS.items())
def test_what_is_no_base_url_is_told_why(text: str, reason: str) -> None:
    with pytest.raises(ValidationError) as raised:
        http_url(text)
    assert reason in raised.value.errors()[0]["msg"]


@given(st.text())
def test_any_other_text_is_refused_as_a_value(text: str) -> None:
    try:
        http_url(text)
    except ValidationError:
        return
    assert text.startswith(("http://", "https://"))


@given(ADDRESSES)
def test_an_address_is_loopback_as_the_standard_library_says(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert is_loopback(str(address)) == address.is_loopback


def test_names_of_this_machine_only() -> None:
    assert is_loopback("localhost")
    assert is_loopback("[::1]")
    assert not is_loopback("localhost.example.com")
    assert not is_loopback("0.0.0.0")


@pytest.mark.parametrize("text", ["127.0.0.1", "::", "0.0.0.0", "mlflow", "mlflow.example.com"])
def test_a_listen_address_is_bare(text: str) -> None:
    assert TypeAdapter(ListenAddress).validate_python(text) == text


@pytest.mark.parametrize("text", ["[::1]", "127.0.0.1:80", "http://mlflow", "a b", "*", ""])
def test_no_listen_address(text: str) -> None:
    with pytest.raises(ValidationError, match="without port or brackets"):
        TypeAdapter(ListenAddress).validate_python(text)


@given(st.integers())
def test_a_port_has_sixteen_bits(number: int) -> None:
    try:
        TypeAdapter(Port).validate_python(number)
    except ValidationError:
        assert not 1 <= number <= 65535
    else:
        assert 1 <= number <= 65535


@pytest.mark.parametrize("text", ["a..b", ".a", "a-", "a/b", "a:1", "", f"{'a.' * 127}aa"])
def test_no_host(text: str) -> None:
    assert not is_host(text)


@given(address=ADDRESSES, port=st.integers(1, 65535))
def test_every_address_gives_a_local_url_with_its_port(address: object, port: int) -> None:
    url = urlsplit(http_url(local_url(str(address), port)))
    assert url.port == port
    assert url.hostname in (str(address), "127.0.0.1", "::1")


SECRETS = st.text("abcXYZ0189 !$%&'()*+,-./:;<=>?@[]^_{|}~#").map(lambda text: f"s3{text}cr3t")


@given(scheme=st.sampled_from(["postgresql://", "redis://", "postgresql:", ""]), secret=SECRETS)
@example(scheme="postgresql:", secret="s3://cr3t")
def test_a_password_in_a_url_is_hidden(scheme: str, secret: str) -> None:
    shown = redacted(f"{scheme}tripod:{secret}@db:5432/tripod?sslmode=require")
    assert "s3" not in shown
    assert "cr3t" not in shown
    assert shown.endswith("***@db:5432/tripod?sslmode=require")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql:///tripod?user=a&password=s3cret&x=1", None),
        ("postgresql://tripod@db/tripod", "postgresql://tripod@db/tripod"),
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("sqlite:////var/lib/mlflow.db", "sqlite:////var/lib/mlflow.db"),
        ("ops@example.com", "ops@example.com"),
    ],
)
def test_what_is_no_password_is_shown(text: str, shown: str | None) -> None:
    expected = "postgresql:///tripod?user=a&password=***&x=1" if shown is None else shown
    assert redacted(text) == expected
