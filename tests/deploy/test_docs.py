"""docs/units.md tells of every unit, and the env files of every setting."""

import re
from pathlib import Path

import pytest

from tests.deploy.units import FOLDER, HOSTS, units, values
from tests.docs.pages import documented_settings

BY_SYSTEMD = {"STATE_DIRECTORY", "RUNTIME_DIRECTORY", "AIRFLOW_HOME"}
"""What an operator leaves alone: `StateDirectory=` says it."""


def test_every_unit_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `([^`]+)` \|", Path("docs/units.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(unit.name for host in HOSTS for unit in units(host))


@pytest.mark.parametrize("host", HOSTS)
def test_the_env_file_has_every_setting_or_says_where_it_is(host: str) -> None:
    text = (FOLDER / host / "env").read_text()
    here = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))
    elsewhere = set(re.findall(r"credentials/([A-Z][A-Z0-9_]*)", text))
    assert set(documented_settings(host)) - BY_SYSTEMD <= here | elsewhere
    assert not here & elsewhere


@pytest.mark.parametrize("host", HOSTS)
def test_the_env_file_names_only_credentials_that_units_load(host: str) -> None:
    text = (FOLDER / host / "env").read_text()
    loaded = {
        credential.partition(":")[0]
        for unit in units(host)
        for credential in values(unit, "LoadCredential")
    }
    assert set(re.findall(r"credentials/([A-Z][A-Z0-9_]*)", text)) <= loaded
