"""The generator reads an env file as the host does, and makes a socket whatever is in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit.sources import read_env_file
from tests.deploy import generator

PIECES = st.sampled_from(
    [
        *("API_HOST", "API_PORT", "API_WORKERS", "export", "=", "=", "=", "'", '"', "\\", "#", " "),
        *("\n", "\n", "\r\n", "\r", "\t", "127.0.0.1", "8000", "n", "a b", "é", "\ufeff", "\x0b"),
    ]
)


@given(text=st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
def test_it_reads_what_the_host_reads(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "env"
    path.write_text(text, encoding="utf-8", newline="")
    source = read_env_file(path, required=True)
    if source.problems:
        return  # The host refuses the file.
    read = generator.parse(path.read_text(encoding="utf-8-sig"))
    assert read == {name: value.text for name, value in source.values.items()}


def made(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, hosts: str = ""
) -> tuple[str, set[str]]:
    """Where the socket listens, with a blank between, and which workers are started."""
    (folder / "hosts").write_text(hosts)
    if text is not None:
        (folder / "env").write_text(text)
    monkeypatch.setattr(generator.module, "ENV_FILE", folder / "env")
    monkeypatch.setattr(generator.module, "HOSTS", folder / "hosts")
    monkeypatch.setattr(sys, "argv", ["generator", str(folder / "units"), "", ""])
    generator.main()
    address = (folder / "units/api-host.socket.d/50-address.conf").read_text()
    workers = {path.name for path in (folder / "units/api-host.service.wants").iterdir()}
    return " ".join(re.findall("^ListenStream=(.*)$", address, re.MULTILINE)), workers


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (None, "127.0.0.1:8000"),
        ("", "127.0.0.1:8000"),
        ("API_HOST=0.0.0.0\nAPI_PORT=80\n", "0.0.0.0:80"),
        ("export API_HOST='::1' # here\r\nAPI_PORT=\r\n", "[::1]:8000"),
        ("API_HOST=api\n", "10.77.0.4:8000"),
        ("API_HOST=unknown\nAPI_PORT=none\nAPI_WORKERS=-1\n", "127.0.0.1:8000"),
        ("API_PORT=70000\n", "127.0.0.1:8000"),
        ("API_GRPC_PORT=8001 # gRPC\nAPI_HOST=::1\n", "[::1]:8000 [::1]:8001"),
        ("API_GRPC_PORT=none\n", "127.0.0.1:8000"),
        ("API_GRPC_PORT=8000\n", "127.0.0.1:8000"),
    ],
)
def test_the_socket_is_where_the_env_file_says(
    text: str | None, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = "# 10.0.0.1 api\n10.77.0.4 api.example API\nnothing api\n"
    assert made(tmp_path, monkeypatch, text, hosts) == (address, set())


def test_further_workers_are_started_with_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, workers = made(tmp_path, monkeypatch, "API_WORKERS=3\n")
    assert workers == {"api-host@2.service", "api-host@3.service"}


def test_what_is_not_text_leaves_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").write_bytes(b"API_PORT=9\n\xff")
    assert made(tmp_path, monkeypatch, None) == ("127.0.0.1:8000", set())


def test_systemd_can_run_it_without_any_package(tmp_path: Path) -> None:
    command = [sys.executable, "-IS", str(generator.PATH), str(tmp_path), "", ""]
    assert subprocess.run(command, check=True, capture_output=True).stderr == b""
    assert (tmp_path / "api-host.socket.d/50-address.conf").exists()
