import re
from pathlib import Path

import pytest

from third_party import HOSTS, PAGE, Bill, page

ROW = re.compile(r"\| (\S+) \| (\S+) \| (.+) \| ([a-z, ]+) \|")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(text: str) -> dict[tuple[str, str], set[str]]:
    """The hosts of each package, by its name and version."""
    table, _, _ = text.partition("What starts a PEX file:")
    return {
        (normal(name), version): set(hosts.split(", "))
        for name, version, _, hosts in ROW.findall(table)
    }


def test_a_package_is_one_line_with_its_licence_and_its_hosts() -> None:
    kettle: Bill = {
        "components": [
            {"name": "Spoon", "version": "1", "licenses": [{"expression": "MIT OR 0BSD"}]},
            {
                "name": "cup",
                "version": "2",
                "licenses": [{"license": {"name": "BSD"}}, {"license": {"name": "GPL"}}],
            },
            {"name": "pex", "version": "3", "components": [{"name": "attrs", "version": "4"}]},
        ]
    }
    pot: Bill = {"components": [kettle["components"][0], {"name": "cup", "version": "3"}]}
    lines = page({"pot": pot, "kettle": kettle}).splitlines()
    assert lines[lines.index("|---|---|---|---|") + 1 :] == [
        "| cup | 2 | BSD / GPL | kettle |",
        "| cup | 3 | not declared | pot |",
        "| Spoon | 1 | MIT OR 0BSD | kettle, pot |",
        "",
        "What starts a PEX file:",
        "",
        "| package | version | licence | in |",
        "|---|---|---|---|",
        "| attrs | 4 | not declared | kettle |",
        "| pex | 3 | not declared | kettle |",
    ]


@pytest.mark.parametrize("host", HOSTS)
def test_the_committed_page_names_the_versions_of_the_lockfiles(host: str) -> None:
    lock = Path(f"3rdparty/{host}/lock.txt").read_text()
    pins = {
        (normal(name), version)
        for name, version in re.findall(r"^([^\s=\[]+)(?:\[.*\])?==(\S+)", lock, re.MULTILINE)
    }
    named = {pin for pin, hosts in packages(PAGE.read_text()).items() if host in hosts}
    assert named, "run ./pants package :: and ./pants third-party"
    assert named <= pins, "run ./pants package :: and ./pants third-party"
