"""./lab: its commands can be read about without root, and say what is wrong with what they get."""

import pytest
from click.testing import CliRunner

from lab.cli import main, split_destination
from lab.errors import LabError

COMMANDS = sorted(main.commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_what_it_does(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    sentence = main.commands[command].get_short_help_str(limit=200)
    assert sentence in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        ("api:/root/file", ("api", "/root/file")),
        ("api:/root/", ("api", "/root/api_host.pex")),
        ("api:/a:b", ("api", "/a:b")),
    ],
)
def test_a_file_goes_to_a_path_on_a_host(destination: str, place: tuple[str, str]) -> None:
    assert split_destination(destination, "api_host.pex") == place


@pytest.mark.parametrize("destination", ["api", "api:", ":/root", "api:root", "/root/file"])
def test_what_names_no_file_on_a_host_is_refused(destination: str) -> None:
    with pytest.raises(LabError, match="write HOST:/PATH"):
        split_destination(destination, "file")
