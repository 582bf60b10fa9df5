"""The document is CycloneDX, says what is inside, and is always the same."""

import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from hostkit.bill.contents import read
from hostkit.bill.cyclonedx import Bill, bill
from hostkit.release import Release
from hostkit.server.pex import Pex
from tests.hostkit.bill.packed import (
    BOOTSTRAP_SHA1,
    CODE_SHA1,
    folder_of,
    pack,
    sha256_of,
    wheel_of,
)

REVISION = "a" * 40


def kettle(path: Path) -> Pex:
    return pack(
        path,
        "tea==1.0",
        packages={
            "tea-1.0": "License: BSD\nRequires-Dist: kettle",
            "kettle-2+local": "License-Expression: MIT OR Apache-2.0",
            "spoon-3": "",
        },
        vendored={"saucer-4": "License: MIT"},
        more={f"{folder_of('tea-1.0')}/sboms/leaves.cdx.json": "{}"},
    )


def bill_of(pex: Pex, revision: str | None = REVISION) -> Bill:
    return bill("kettle-host", Release("1.2.3", revision, "3.11.2", {}), read(pex))


def test_it_is_cyclonedx(tmp_path: Path) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    document = bill_of(kettle(tmp_path / "kettle.pex"))
    assert validator.validate_str(json.dumps(document)) is None
    document["components"][0]["type"] = "spoon"  # type: ignore[typeddict-item]
    assert validator.validate_str(json.dumps(document)) is not None


def test_the_whole_is_named_by_its_file_and_its_commit(tmp_path: Path) -> None:
    pex = kettle(tmp_path / "kettle.pex")
    whole = bill_of(pex)["metadata"]["component"]
    assert (whole["name"], whole["version"]) == ("kettle-host", "1.2.3")
    assert whole["hashes"] == [{"alg": "SHA-256", "content": pex.sha256}]
    assert whole["pedigree"] == {"commits": [{"uid": REVISION}]}
    assert whole["properties"] == [
        {"name": "pex:code_hash", "value": CODE_SHA1},
        {"name": "pex:interpreter_constraint", "value": "CPython==3.11.*"},
    ]
    assert "pedigree" not in bill_of(pex, revision=None)["metadata"]["component"]


def test_every_package_has_version_licence_and_hash(tmp_path: Path) -> None:
    kettle_, spoon, tea, pex = bill_of(kettle(tmp_path / "kettle.pex"))["components"]
    assert tea == {
        "type": "library",
        "bom-ref": "pkg:pypi/tea@1.0",
        "name": "tea",
        "version": "1.0",
        "hashes": [{"alg": "SHA-256", "content": sha256_of("tea-1.0")}],
        "licenses": [{"license": {"name": "BSD", "acknowledgement": "declared"}}],
        "purl": "pkg:pypi/tea@1.0",
        "externalReferences": [
            {
                "type": "bom",
                "url": f"{folder_of('tea-1.0')}/sboms/leaves.cdx.json",
                "hashes": [
                    {
                        "alg": "SHA-256",
                        "content": (
                            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
                        ),
                    }
                ],
            }
        ],
        "properties": [{"name": "pex:wheel", "value": wheel_of("tea-1.0")}],
    }
    assert kettle_["purl"] == "pkg:pypi/kettle@2%2Blocal"
    assert kettle_["licenses"] == [
        {"expression": "MIT OR Apache-2.0", "acknowledgement": "declared"}
    ]
    assert "licenses" not in spoon
    assert pex["hashes"] == [{"alg": "SHA-1", "content": BOOTSTRAP_SHA1}]
    assert [(part["name"], part["version"]) for part in pex["components"]] == [("saucer", "4")]


def test_it_says_what_needs_what(tmp_path: Path) -> None:
    found = bill_of(kettle(tmp_path / "kettle.pex"))["dependencies"]
    assert {item["ref"]: item["dependsOn"] for item in found} == {
        "kettle-host": ["bootstrap/pkg:pypi/pex@2.1", "pkg:pypi/tea@1.0"],
        "pkg:pypi/tea@1.0": ["pkg:pypi/kettle@2%2Blocal"],
        "pkg:pypi/kettle@2%2Blocal": [],
        "pkg:pypi/spoon@3": [],
        "bootstrap/pkg:pypi/pex@2.1": ["bootstrap/pkg:pypi/saucer@4"],
        "bootstrap/pkg:pypi/saucer@4": [],
    }


def test_the_same_file_gives_the_same_bytes_wherever_it_is(tmp_path: Path) -> None:
    pex = kettle(tmp_path / "kettle.pex")
    elsewhere = tmp_path / "elsewhere.pex"
    elsewhere.write_bytes(pex.path.read_bytes())
    assert json.dumps(bill_of(pex)) == json.dumps(bill_of(Pex(elsewhere)))
    other = pack(tmp_path / "other.pex", packages={"tea-1.0": ""})
    assert bill_of(other)["serialNumber"] != bill_of(pex)["serialNumber"]
