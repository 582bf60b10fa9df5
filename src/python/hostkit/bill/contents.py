"""What is inside a PEX file: its own code, and the distributions that were packed with it."""

import hashlib
import json
import re
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from pydantic import BaseModel

from hostkit.bill.licence import Licence
from hostkit.server.pex import INFO, Pex

_OF_A_WHEEL = re.compile(r"\.deps/(?P<wheel>[^/]+)/[^/]+\.dist-info/METADATA")
_OF_PEX = re.compile(r"\.bootstrap/.+\.dist-info/METADATA")


@dataclass(frozen=True)
class Document:
    """A bill of materials that a wheel brought along, of what was compiled into it.

    `path`: where it is within the PEX file.
    `sha256`: of its content.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class Distribution:
    """What pip would call an installed package.

    `name`, `version`: as it says itself.
    `licence`: what it declares.
    `requires`: what it wants, whether that is there or not.
    `wheel`: the file that it was installed from; None of one that Pex brings along.
    `sha256`: of its unpacked files, as Pex works it out; None of one that Pex brings along.
    `documents`: the bills of materials that it brought along.
    """

    name: str
    version: str
    licence: Licence
    requires: tuple[Requirement, ...]
    wheel: str | None = None
    sha256: str | None = None
    documents: tuple[Document, ...] = ()

    @property
    def key(self) -> NormalizedName:
        """The one spelling of its name."""
        return canonicalize_name(self.name)


@dataclass(frozen=True)
class Contents:
    """A PEX file from within.

    `sha256`: of the file.
    `code_sha1`: of our own modules, as Pex works it out.
    `interpreters`: what it runs on, for instance `CPython==3.11.*`.
    `requirements`: what our own modules want.
    `distributions`: what it was packed with, by name.
    `pex_version`, `pex_sha1`: of the part of Pex that starts the file.
    `vendored`: what that part brings along, if it says what it is.
    """

    sha256: str
    code_sha1: str
    interpreters: tuple[str, ...]
    requirements: tuple[Requirement, ...]
    distributions: tuple[Distribution, ...]
    pex_version: str
    pex_sha1: str
    vendored: tuple[Distribution, ...]


class _BuildProperties(BaseModel):
    pex_version: str


class _Info(BaseModel):
    """The part of PEX-INFO that is of interest here."""

    bootstrap_hash: str
    build_properties: _BuildProperties
    code_hash: str
    distributions: dict[str, str]
    interpreter_constraints: tuple[str, ...]
    requirements: tuple[str, ...]


def read(pex: Pex) -> Contents:
    """Looks into a PEX file."""
    with zipfile.ZipFile(pex.path) as archive:
        info = _Info.model_validate(json.loads(archive.read(INFO)))
        names = sorted(archive.namelist())
        wheels = {found["wheel"]: found[0] for found in map(_OF_A_WHEEL.fullmatch, names) if found}
        distributions = [
            _read_distribution(archive, names, wheels[wheel], wheel, sha256)
            for wheel, sha256 in info.distributions.items()
        ]
        vendored = [
            _read_distribution(archive, names, name) for name in names if _OF_PEX.fullmatch(name)
        ]
    return Contents(
        sha256=pex.sha256,
        code_sha1=info.code_hash,
        interpreters=info.interpreter_constraints,
        requirements=tuple(map(Requirement, info.requirements)),
        distributions=tuple(sorted(distributions, key=lambda item: item.key)),
        pex_version=info.build_properties.pex_version,
        pex_sha1=info.bootstrap_hash,
        vendored=tuple(sorted(vendored, key=lambda item: item.key)),
    )


def _read_distribution(
    archive: zipfile.ZipFile,
    names: list[str],
    path: str,
    wheel: str | None = None,
    sha256: str | None = None,
) -> Distribution:
    """The distribution whose metadata is at `path`, in an archive of files with `names`."""
    metadata = BytesParser(policy=compat32).parsebytes(archive.read(path))
    documents = path.removesuffix("METADATA") + "sboms/"
    return Distribution(
        name=str(metadata["Name"]),
        version=str(metadata["Version"]),
        licence=Licence.declared(metadata),
        requires=tuple(map(Requirement, _texts(metadata, "Requires-Dist"))),
        wheel=wheel,
        sha256=sha256,
        documents=tuple(
            Document(name, hashlib.sha256(archive.read(name)).hexdigest())
            for name in names
            if name.startswith(documents) and not name.endswith("/")
        ),
    )


def _texts(metadata: Message, field: str) -> list[str]:
    return [str(text) for text in metadata.get_all(field, [])]
