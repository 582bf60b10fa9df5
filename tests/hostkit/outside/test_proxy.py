import re
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hostkit.definition import Entrance
from hostkit.errors import HostError
from hostkit.outside.proxy import Certificate, Proxy, render
from tests.hostkit.outside.programs import accepted, make_certificate
from tests.lacks import program

LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PORTS = st.integers(1, 65535)
ENTRANCES = st.builds(
    Entrance,
    url=st.builds("https://{}:{}".format, NAMES, PORTS) | st.builds("https://{}".format, NAMES),
    url_variable=st.just("MLFLOW_PUBLIC_URL"),
    address=st.sampled_from(["127.0.0.1", "0.0.0.0", "::", "::1", "10.0.0.5", "fd00::5"]),
    port=PORTS,
    max_body_bytes=st.none() | st.integers(1, 2**40),
    timeout_seconds=st.integers(1, 3600).map(float),
    grpc_port=st.none() | PORTS,
)
CERTIFICATE = Certificate(Path("/etc/ssl/certs/x.pem"), Path("/etc/ssl/private/x.key"))


def entrance(
    url: str | None = "https://mlflow.example.com",
    max_body_bytes: int | None = None,
    grpc_port: int | None = None,
) -> Entrance:
    return Entrance(
        url, "MLFLOW_PUBLIC_URL", "0.0.0.0", 5000, max_body_bytes, 600.0, grpc_port=grpc_port
    )


def parts(url: str) -> tuple[str, str, str]:
    """The authority, the name and the port of a URL."""
    authority = url.removeprefix("https://")
    name, _, port = authority.partition(":")
    return authority, name, port or "443"


def upstream(where: Entrance, port: int | None = None) -> str:
    address = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]", "fd00::5": "[fd00::5]"}
    return f"{address.get(where.address, where.address)}:{port or where.port}"


@given(where=ENTRANCES)
def test_nginx_agrees_with_the_settings(where: Entrance) -> None:
    text = render(Proxy.NGINX, "mlflow-host", where, CERTIFICATE)
    authority, name, port = parts(where.url or "")
    directives = dict(re.findall(r"^ +(\w+) +(.*);$", text, re.MULTILINE))
    servers = [upstream(where)]
    if where.grpc_port:
        servers.append(upstream(where, where.grpc_port))
        assert directives["grpc_pass"] == "grpc://mlflow_host_grpc"
    assert re.findall(r"^ +server +(.*);$", text, re.MULTILINE) == servers
    assert ("grpc" in text) == bool(where.grpc_port)
    assert set(re.findall(r"server_name (.*);", text)) == {name}
    assert set(re.findall(r"listen ([^\s;]+)", text)) == {port, f"[::]:{port}", "80", "[::]:80"}
    assert re.findall(r"proxy_set_header Host (.*);", text) == [authority]
    assert "proxy_set_header Tripod-Duplex half;" in text
    assert directives["client_max_body_size"] == str(where.max_body_bytes or 0)
    assert directives["proxy_read_timeout"] == f"{where.timeout_seconds:.0f}s"
    assert f"return 308 https://{authority}$request_uri;" in text
    assert directives["ssl_certificate"] == "/etc/ssl/certs/x.pem"
    assert directives["ssl_certificate_key"] == "/etc/ssl/private/x.key"
    assert not re.search(r"@[A-Z]", text)


@given(where=ENTRANCES)
def test_caddy_agrees_with_the_settings(where: Entrance) -> None:
    text = render(Proxy.CADDY, "mlflow-host", where, CERTIFICATE)
    authority, name, port = parts(where.url or "")
    assert f"\nhttps://{name}:{port} {{\n" in text
    assert f"\nhttp://{name} {{\n" in text
    assert f"reverse_proxy {upstream(where)} {{" in text
    assert ("grpc" in text) == bool(where.grpc_port)
    if where.grpc_port:
        assert f"reverse_proxy @grpc h2c://{upstream(where, where.grpc_port)} {{" in text
    assert f"header_up Host {authority}\n" in text
    assert f"max_size {where.max_body_bytes or 0}\n" in text
    assert f"read_timeout {where.timeout_seconds:.0f}s\n" in text
    assert "tls /etc/ssl/certs/x.pem /etc/ssl/private/x.key\n" in text
    assert f"redir https://{authority}{{uri}} 308" in text
    assert not re.search(r"@[A-Z]", text)


@given(where=ENTRANCES)
def test_traefik_agrees_with_the_settings(where: Entrance) -> None:
    document = yaml.safe_load(render(Proxy.TRAEFIK, "mlflow-host", where, CERTIFICATE))
    authority, name, _ = parts(where.url or "")
    http = document["http"]
    routers = http["routers"]
    assert {router["rule"].partition(" ")[0] for router in routers.values()} == {f"Host(`{name}`)"}
    used = [name for router in routers.values() for name in router["middlewares"]]
    assert set(used) <= http["middlewares"].keys()
    assert ("mlflow-host-limit" in used) == bool(where.max_body_bytes)
    limit = http["middlewares"]["mlflow-host-limit"]["buffering"]["maxRequestBodyBytes"]
    assert limit == (where.max_body_bytes or 0)
    balancer = http["services"]["mlflow-host"]["loadBalancer"]
    assert balancer["servers"] == [{"url": f"http://{upstream(where)}"}]
    assert ("mlflow-host-grpc" in routers) == bool(where.grpc_port)
    if where.grpc_port:
        balancer = http["services"][routers["mlflow-host-grpc"]["service"]]["loadBalancer"]
        assert balancer["servers"] == [{"url": f"h2c://{upstream(where, where.grpc_port)}"}]
    redirect = http["middlewares"]["mlflow-host-to-https"]["redirectRegex"]["replacement"]
    assert redirect == f"https://{authority}/${{1}}"
    assert document["tls"]["certificates"] == [
        {"certFile": "/etc/ssl/certs/x.pem", "keyFile": "/etc/ssl/private/x.key"}
    ]


@pytest.mark.parametrize("proxy", list(Proxy))
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (None, r"MLFLOW_PUBLIC_URL is not set: .*=https://mlflow\.example\.com"),
        ("http://mlflow:5000", "the proxy speaks TLS: .*MLFLOW_PUBLIC_URL=https://mlflow"),
        ("https://example.com/mlflow", "has no path"),
    ],
)
def test_a_url_that_no_proxy_can_serve_is_refused(
    proxy: Proxy, url: str | None, sentence: str
) -> None:
    with pytest.raises(HostError, match=sentence):
        render(proxy, "mlflow-host", entrance(url), CERTIFICATE)


@pytest.mark.parametrize("path", ["key.pem", "/etc/a b.pem", "/etc/x;}", "/etc/x\n"])
def test_a_path_that_would_be_more_than_a_path_is_refused(path: str) -> None:
    with pytest.raises(HostError, match="cannot be written into a configuration"):
        render(Proxy.NGINX, "mlflow-host", entrance(), Certificate(Path(path), CERTIFICATE.key))


HOSTS = ("airflow-host", "api-host", "mlflow-host")


@pytest.mark.parametrize(("max_body", "grpc_port"), [(None, None), (16_777_216, 8001)])
def test_nginx_accepts_it_also_for_several_hosts(
    tmp_path: Path, max_body: int | None, grpc_port: int | None
) -> None:
    nginx = program("nginx", "nginx-light")
    certificate = Certificate(*make_certificate(tmp_path, "example.com"))
    for host in HOSTS:
        where = entrance(f"https://{host}.example.com", max_body, grpc_port)
        (tmp_path / f"{host}.conf").write_text(render(Proxy.NGINX, host, where, certificate))
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; include {tmp_path}/*-host.conf; }}\n"
    )
    accepted(nginx, "-t", "-q", "-e", "stderr", "-p", tmp_path, "-c", whole)


@pytest.mark.parametrize(("max_body", "grpc_port"), [(None, None), (16_777_216, 8001)])
def test_caddy_accepts_it(
    tmp_path: Path, max_body: int | None, grpc_port: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    caddy = program("caddy", "caddy")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    certificate = Certificate(*make_certificate(tmp_path, "mlflow.example.com"))
    file = tmp_path / "Caddyfile"
    where = entrance(max_body_bytes=max_body, grpc_port=grpc_port)
    file.write_text(render(Proxy.CADDY, "mlflow-host", where, certificate))
    accepted(caddy, "validate", "--adapter", "caddyfile", "--config", file)
    formatted = subprocess.run([caddy, "fmt", file], check=True, capture_output=True, text=True)
    assert formatted.stdout == file.read_text()
