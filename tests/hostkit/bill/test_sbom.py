"""`sbom` as an operator asks for it."""

import json
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from hostkit.bill.cli import add_commands
from hostkit.cli import HostGroup
from tests.hostkit.bill.packed import pack
from tests.hostkit.server.host import DEFINITION


@click.group(cls=HostGroup)
def main() -> None:
    """The host."""


add_commands(main, DEFINITION)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed release of the host, which this process runs from."""
    (tmp_path / "venv").mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return pack(tmp_path / "test_host.pex", "tea", packages={"tea-1": ""}).path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["sbom", *arguments])


def test_a_file_gets_what_standard_output_would(installed: Path, tmp_path: Path) -> None:
    printed = run().stdout
    assert [item["name"] for item in json.loads(printed)["components"]] == ["tea", "pex"]
    output = tmp_path / "sbom.json"
    output.write_text("an older one")
    done = run("--output", str(output))
    assert (done.exit_code, done.output) == (0, "")
    assert output.read_text() == printed
    assert run().stdout == printed


def test_a_folder_that_is_not_there_is_named(installed: Path, tmp_path: Path) -> None:
    done = run("--output", str(tmp_path / "none/sbom.json"))
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: the folder {tmp_path}/none does not exist: create it, or name another\n"
    )


def test_only_a_pex_file_has_a_bill() -> None:
    done = run()
    assert done.exit_code == 1
    assert done.stderr == (
        "error: this was not started from a PEX file: copy test_host.pex to this machine and run"
        " the command of that file\n"
    )


def test_help_teaches() -> None:
    told = run("--help").stdout
    for word in ("CycloneDX 1.6", "test_host.pex sbom --output bill.cdx.json", "docs/releases.md"):
        assert word in told
