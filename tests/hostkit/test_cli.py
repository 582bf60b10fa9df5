import errno
import json
import re
from pathlib import Path
from typing import ClassVar

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import Field, SecretStr

from hostkit.cli import HostCommand, HostGroup, add_common_commands
from hostkit.definition import Contents, Definition, Entrance
from hostkit.errors import HostError
from hostkit.options import env_file_option, load_settings
from hostkit.settings import Settings


class KettleSettings(Settings):
    host_name: ClassVar[str] = "kettle-host"

    kettle_address: str = Field("[fd00::1]", description="Where it listens")
    kettle_port: int = Field(5000, description="Port to listen on", examples=[5000])
    kettle_password: SecretStr | None = Field(None, description="What opens it")


@click.group(cls=HostGroup)
def main() -> None:
    """The kettle."""


@main.command()
@env_file_option
def serve(env_file: Path | None) -> None:
    """Boils."""
    click.echo(load_settings(KettleSettings, env_file).settings.kettle_port)


@main.command()
@click.argument("number", type=int)
def fail(number: int) -> None:
    """Fails: by a sentence, or by an error of the system."""
    if number == 0:
        raise HostError("the kettle is dry: fill it\nthe lid is open: close it")
    raise OSError(number, "reason", "/var/lib/kettle")


add_common_commands(
    main,
    Definition(
        settings=KettleSettings,
        distributions=("click", "pydantic"),
        unit="kettle-host.service",
        contents=lambda _: Contents(),
        entrance=lambda _: Entrance(
            url="https://kettle.example.com",
            url_variable="KETTLE_URL",
            address="127.0.0.1",
            port=8000,
            max_body_bytes=None,
            timeout_seconds=10,
        ),
    ),
)


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env={**environment})


def test_version_is_for_people_and_for_machines() -> None:
    text = run("version")
    assert text.exit_code == 0
    assert text.stdout.startswith("kettle-host ")
    document = json.loads(run("version", "--json").stdout)
    assert set(document) == {"version", "revision", "python", "components"}
    assert set(document["components"]) == {"click", "pydantic"}
    for number in (document["version"], document["python"], *document["components"].values()):
        assert number in text.stdout


def test_config_tells_where_each_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("\nKETTLE_PORT=80\n")
    arguments = ["config", "--env-file", str(tmp_path / "env")]
    documents = json.loads(run(*arguments, "--json", KETTLE_PASSWORD="s3cret").stdout)
    assert [tuple(document.values()) for document in documents] == [
        ("KETTLE_ADDRESS", "[fd00::1]", "default", None, "Where it listens"),
        ("KETTLE_PORT", "80", str(tmp_path / "env"), 2, "Port to listen on"),
        ("KETTLE_PASSWORD", "(hidden)", "environment", None, "What opens it"),
    ]
    lines = run(*arguments, KETTLE_PASSWORD="s3cret").stdout.splitlines()
    assert [re.split("  +", line) for line in lines] == [
        ["KETTLE_ADDRESS=[fd00::1]", "Where it listens (default)"],
        ["KETTLE_PORT=80", f"Port to listen on ({tmp_path / 'env'} line 2)"],
        ["KETTLE_PASSWORD=(hidden)", "What opens it (environment)"],
    ]


def test_config_check_says_nothing_if_all_is_well() -> None:
    result = run("config", "--check")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("arguments", [("serve",), ("config",), ("config", "--check")])
def test_wrong_settings_end_with_78_and_all_sentences(arguments: tuple[str, ...]) -> None:
    result = run(*arguments, KETTLE_PORT="tea", KETTLE_PASWORD="s3cret")
    assert result.exit_code == 78
    assert result.stdout == ""
    assert result.stderr == (
        "warning: KETTLE_PASWORD in environment is not a setting: did you mean KETTLE_PASSWORD?\n"
        "error: KETTLE_PORT is 'tea' in environment: it must be a whole number; for example"
        " KETTLE_PORT=5000\n"
    )


def test_a_warning_stops_nothing() -> None:
    result = run("serve", KETTLE_PROT="80")
    assert (result.exit_code, result.stdout) == (0, "5000\n")
    assert result.stderr.startswith("warning: KETTLE_PROT in environment is not a setting")


def test_an_env_file_that_is_named_must_exist() -> None:
    result = run("serve", "--env-file", "/none")
    assert result.exit_code == 78
    assert result.stderr == "error: /none does not exist: create it, or name another env file\n"


def test_what_cannot_be_done_is_a_sentence_a_line() -> None:
    result = run("fail", "0")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: the kettle is dry: fill it\nerror: the lid is open: close it\n"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_fault_of_the_machine_is_a_sentence(number: int) -> None:
    result = run("fail", str(number))
    assert result.exit_code == 1
    assert result.stderr == "error: /var/lib/kettle cannot be used: reason\n"


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    assert isinstance(run("fail", str(errno.ENOENT)).exception, FileNotFoundError)


def test_a_wrong_call_ends_with_2() -> None:
    assert run("boil").exit_code == 2
    assert run("serve", "--loud").exit_code == 2


def test_a_program_that_is_one_command_ends_the_same_way() -> None:
    @click.command(cls=HostCommand)
    def boil() -> None:
        raise HostError("the kettle is dry: fill it")

    result = CliRunner().invoke(boil)
    assert (result.exit_code, result.stderr) == (1, "error: the kettle is dry: fill it\n")


def test_a_proxy_and_a_firewall_are_configured_from_the_settings() -> None:
    proxy = run("config", "proxy", "nginx", "--key=/etc/kettle.key")
    assert proxy.exit_code == 0
    assert "server_name kettle.example.com;" in proxy.stdout
    assert "ssl_certificate     /etc/ssl/certs/kettle-host.pem;" in proxy.stdout
    assert "ssl_certificate_key /etc/kettle.key;" in proxy.stdout
    firewall = run("config", "firewall", "--from=10.0.0.2, 10.0.0.3", "--ssh-port=2222")
    assert firewall.exit_code == 0
    assert "elements = { 10.0.0.2/32, 10.0.0.3/32 }" in firewall.stdout
    assert "tcp dport 2222 accept" in firewall.stdout
    assert run("config", "firewall").exit_code == 1
