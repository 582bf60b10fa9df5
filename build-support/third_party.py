"""Makes THIRD_PARTY.md from what is inside the PEX files in dist: `./pants third-party`."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

HOSTS = ("airflow", "api", "mlflow")
PAGE = Path("THIRD_PARTY.md")
STARTER = "pex"
"""What starts a PEX file; what it brings along is its own."""

HEAD = """\
# Third parties

Tripod is under the [Apache License 2.0](LICENSE). Its three PEX files also hold the packages below,
each under the licence that it declares itself. `OR` leaves the choice to you; `/` stands between
names where a package gives several and does not say how they go together. The texts are in the PEX
files, beside each package: `unzip -l dist/api_host.pex '*LICEN*' '*licen*'` lists them.

`./pants third-party` makes this page from what `X_host.pex sbom` says of the packaged files, and
`--check` only compares. Libraries that were compiled into a wheel are not listed here: where the
wheel brings a bill of materials of its own, `sbom` says where in the PEX file it is.

"""


class NamedLicence(TypedDict):
    """A licence by its name."""

    name: str


class LicenceChoice(TypedDict, total=False):
    """An expression, or a name."""

    expression: str
    license: NamedLicence


class Component(TypedDict, total=False):
    """The part of a component that is of interest here."""

    name: str
    version: str
    licenses: list[LicenceChoice]
    components: list["Component"]


class Bill(TypedDict):
    """The same of a bill of materials."""

    components: list[Component]


@dataclass
class Table:
    """Packages, with the hosts that hold them."""

    rows: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    def add(self, component: Component, host: str) -> None:
        """A host holds this."""
        row = (component["name"], component["version"], licence(component))
        self.rows.setdefault(row, []).append(host)

    def lines(self) -> Iterator[str]:
        """As Markdown."""
        yield "| package | version | licence | in |"
        yield "|---|---|---|---|"
        for row in sorted(self.rows, key=lambda row: (row[0].lower(), row[1])):
            yield f"| {' | '.join(row)} | {', '.join(self.rows[row])} |"


def licence(component: Component) -> str:
    """What a component declares."""
    choices = component.get("licenses", [])
    return (
        " / ".join(
            choice["license"]["name"] if "license" in choice else choice["expression"]
            for choice in choices
        )
        or "not declared"
    )


def page(bills: Mapping[str, Bill]) -> str:
    """The page, from the bill of each host."""
    packages, started = Table(), Table()
    for host, bill in sorted(bills.items()):
        for component in bill["components"]:
            if component["name"] == STARTER:
                started.add(component, host)
            else:
                packages.add(component, host)
            for inner in component.get("components", []):
                started.add(inner, host)
    lines = [*packages.lines(), "", "What starts a PEX file:", "", *started.lines()]
    return HEAD + "\n".join(lines) + "\n"


def bill_of(host: str) -> Bill:
    """What the PEX file of a host says of itself."""
    pex = Path("dist") / f"{host}_host.pex"
    if not pex.is_file():
        sys.exit(f"{pex} is missing: run ./pants package :: first")
    done = subprocess.run([sys.executable, pex, "sbom"], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{pex} does not say what it is made of; see above, or run ./pants package ::")
    bill: Bill = json.loads(done.stdout)
    return bill


def main() -> None:
    """Writes the page, or only compares it."""
    parser = argparse.ArgumentParser(prog="./pants third-party", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; fail if it is stale")
    arguments = parser.parse_args()
    made = page({host: bill_of(host) for host in HOSTS})
    if PAGE.exists() and PAGE.read_text() == made:
        print(f"{PAGE}: up to date")
    elif arguments.check:
        sys.exit(
            f"{PAGE} does not answer the PEX files in dist; run ./pants package :: and"
            " ./pants third-party"
        )
    else:
        PAGE.write_text(made)
        print(f"{PAGE}: written")


if __name__ == "__main__":
    main()
