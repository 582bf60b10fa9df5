"""What the units start exists: each command line is given to the program that was built."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.units import HOSTS, command, services, values

STARTS = sorted(
    {
        (host, *words)
        for host in HOSTS
        for service in services(host)
        for line in values(service, "ExecStart")
        if (words := command(line, host))
    }
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PEX_ROOT": str(tmp_path_factory.mktemp("pex"))}


@pytest.mark.parametrize("start", STARTS, ids=" ".join)
def test_the_program_understands_what_a_unit_says(
    start: tuple[str, ...], environment: dict[str, str]
) -> None:
    host, *words = start
    pex = Path(f"{host.replace('-', '_')}.pex").absolute()
    result = subprocess.run(
        [pex, *words, "--help"], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Usage: "), result.stdout
