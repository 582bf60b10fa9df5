"""The bill of materials as CycloneDX 1.6 writes it (https://cyclonedx.org/docs/1.6/json/)."""

import uuid
from collections.abc import Iterable
from typing import Literal, TypedDict
from urllib.parse import quote

from hostkit.bill.contents import Contents, Distribution
from hostkit.bill.graph import graph
from hostkit.bill.licence import Licence
from hostkit.release import Release

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"

Acknowledgement = Literal["declared"]


class Hash(TypedDict):
    """A digest of a component."""

    alg: Literal["SHA-1", "SHA-256"]
    content: str


class Property(TypedDict):
    """What the format has no word for."""

    name: str
    value: str


class Commit(TypedDict):
    """A commit, by its hash."""

    uid: str


class Pedigree(TypedDict):
    """Where a component comes from."""

    commits: list[Commit]


class NamedLicence(TypedDict):
    """A licence that has a name of its own."""

    name: str
    acknowledgement: Acknowledgement


class LicenceChoice(TypedDict, total=False):
    """Either an expression of SPDX, or a licence by name."""

    license: NamedLicence
    expression: str
    acknowledgement: Acknowledgement


class Reference(TypedDict):
    """A document about a component."""

    type: Literal["bom"]
    url: str
    hashes: list[Hash]


Component = TypedDict(
    "Component",
    {
        "type": Literal["application", "library"],
        "bom-ref": str,
        "name": str,
        "version": str,
        "hashes": list[Hash],
        "licenses": list[LicenceChoice],
        "purl": str,
        "pedigree": Pedigree,
        "externalReferences": list[Reference],
        "components": list["Component"],
        "properties": list[Property],
    },
    total=False,
)
"""Something that is inside, or the whole."""


class Dependency(TypedDict):
    """What a component needs."""

    ref: str
    dependsOn: list[str]


class Lifecycle(TypedDict):
    """When a bill was made."""

    phase: Literal["post-build"]


class Metadata(TypedDict):
    """What a bill is about."""

    lifecycles: list[Lifecycle]
    component: Component


Bill = TypedDict(
    "Bill",
    {
        "$schema": str,
        "bomFormat": Literal["CycloneDX"],
        "specVersion": Literal["1.6"],
        "serialNumber": str,
        "version": int,
        "metadata": Metadata,
        "components": list[Component],
        "dependencies": list[Dependency],
    },
)
"""The whole document."""


def bill(host: str, release: Release, contents: Contents) -> Bill:
    """Writes down what is inside: the same for the same PEX file, always and everywhere."""
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"sha256:{contents.sha256}").urn,
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "post-build"}],
            "component": _whole(host, release, contents),
        },
        "components": [*map(_library, contents.distributions), _pex(contents)],
        "dependencies": _dependencies(host, contents),
    }


def purl(name: str, version: str) -> str:
    """The package URL of a distribution, which is also what a bill refers to it by."""
    return f"pkg:pypi/{name}@{quote(version, safe='')}"


def _whole(host: str, release: Release, contents: Contents) -> Component:
    whole: Component = {
        "type": "application",
        "bom-ref": host,
        "name": host,
        "version": release.version,
        "hashes": [{"alg": "SHA-256", "content": contents.sha256}],
        "licenses": _licences(Licence("Apache-2.0")),
    }
    if release.revision:
        whole["pedigree"] = {"commits": [{"uid": release.revision}]}
    whole["properties"] = [Property(name="pex:code_hash", value=contents.code_sha1)]
    whole["properties"] += [
        Property(name="pex:interpreter_constraint", value=one) for one in contents.interpreters
    ]
    return whole


def _library(distribution: Distribution, prefix: str = "") -> Component:
    name = purl(distribution.key, distribution.version)
    library: Component = {
        "type": "library",
        "bom-ref": prefix + name,
        "name": distribution.name,
        "version": distribution.version,
    }
    if distribution.sha256:
        library["hashes"] = [{"alg": "SHA-256", "content": distribution.sha256}]
    if licences := _licences(distribution.licence):
        library["licenses"] = licences
    library["purl"] = name
    if distribution.documents:
        library["externalReferences"] = [
            {
                "type": "bom",
                "url": quote(document.path),
                "hashes": [{"alg": "SHA-256", "content": document.sha256}],
            }
            for document in distribution.documents
        ]
    if distribution.wheel:
        library["properties"] = [{"name": "pex:wheel", "value": distribution.wheel}]
    return library


def _pex(contents: Contents) -> Component:
    """The part of Pex that starts the file, with what it brings along."""
    name = purl("pex", contents.pex_version)
    return {
        "type": "library",
        "bom-ref": f"bootstrap/{name}",
        "name": "pex",
        "version": contents.pex_version,
        "hashes": [{"alg": "SHA-1", "content": contents.pex_sha1}],
        "licenses": _licences(Licence("Apache-2.0")),
        "purl": name,
        "components": [_library(item, "bootstrap/") for item in contents.vendored],
    }


def _licences(licence: Licence) -> list[LicenceChoice]:
    if licence.expression:
        return [{"expression": licence.expression, "acknowledgement": "declared"}]
    return [{"license": {"name": name, "acknowledgement": "declared"}} for name in licence.names]


def _dependencies(host: str, contents: Contents) -> list[Dependency]:
    found = graph(contents.requirements, contents.distributions)
    refs = {item.key: purl(item.key, item.version) for item in contents.distributions}
    pex = _pex(contents)
    return [
        _dependency(host, [*(refs[name] for name in found.roots), pex["bom-ref"]]),
        *(
            _dependency(ref, [refs[other] for other in found.edges[name]])
            for name, ref in refs.items()
        ),
        _dependency(pex["bom-ref"], [item["bom-ref"] for item in pex["components"]]),
        *(_dependency(item["bom-ref"], []) for item in pex["components"]),
    ]


def _dependency(ref: str, others: Iterable[str]) -> Dependency:
    return {"ref": ref, "dependsOn": sorted(others)}
