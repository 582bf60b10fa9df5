"""What is signed of a model: which one it is, and the digest of each of its files.

The form is that of OpenSSF Model Signing 1.0, an in-toto statement, so that its own tool can check
a model too. Which registered model and which run it is, is a member that this tool passes over.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hostkit.signing.errors import BadSignatureError

SIGNATURE_FILE = "model.sig"
"""The file beside a model's own that has its signature."""

MOST_FILES = 10_000

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_HASH = "sha256"


@dataclass(frozen=True)
class Identity:
    """Which model is signed, so that the files of one cannot stand for another.

    `name`: in the registry.
    `run_id`: the run that logged it; empty if none did.
    `model_id`: MLflow's own id of what that run logged; empty where it has none.
    """

    name: str
    run_id: str
    model_id: str

    @classmethod
    def of(cls, name: str, run_id: str | None, source: str | None) -> Self:
        """Of a version in the registry, whose `source` names what was logged."""
        scheme, separator, rest = (source or "").partition(":/")
        is_logged = scheme == "models" and separator and "/" not in rest
        return cls(name, run_id or "", rest if is_logged else "")


@dataclass(frozen=True)
class Statement:
    """What a signature says.

    `files`: the SHA-256 of each, by its path in the model's folder.
    """

    identity: Identity
    files: Mapping[str, str]

    def encode(self) -> bytes:
        """What is signed."""
        document = {
            "_type": _STATEMENT,
            "subject": [{"name": self.identity.name, "digest": {_HASH: _root(self.files)}}],
            "predicateType": _PREDICATE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": _HASH,
                    "allow_symlinks": False,
                    "ignore_paths": [SIGNATURE_FILE],
                },
                "resources": [
                    {"name": name, "algorithm": _HASH, "digest": digest}
                    for name, digest in sorted(self.files.items())
                ],
                "registered": {
                    "name": self.identity.name,
                    "run_id": self.identity.run_id,
                    "model_id": self.identity.model_id,
                },
            },
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def check_identity(self, identity: Identity) -> None:
        """Raises `BadSignatureError` unless it is of this model."""
        if identity != self.identity:
            raise BadSignatureError(
                f"its signature is of another model: {_describe(self.identity)} was signed, and"
                f" this is {_describe(identity)}"
            )

    def check_files(self, files: Mapping[str, str]) -> None:
        """The same unless these are the files, with their digests, and there are no others."""
        self.check_names(files.keys())
        for name, digest in self.files.items():
            if files[name] != digest:
                raise BadSignatureError(f"its file {name} is not the one that was signed")

    def check_names(self, names: Collection[str]) -> None:
        """The same of their names alone."""
        if missing := sorted(self.files.keys() - set(names)):
            raise BadSignatureError(f"its file {missing[0]} was signed and is gone")
        if extra := sorted(set(names) - self.files.keys()):
            raise BadSignatureError(f"its file {extra[0]!r} was not there when it was signed")


def decode(payload: bytes) -> Statement:
    """What was signed. Raises `BadSignatureError` if it is no statement of a model."""
    try:
        document = _Document.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise BadSignatureError(
            f"its signature is of something else ({place}: {first['msg']})"
        ) from None
    resources = document.predicate.resources
    files = {resource.name: resource.digest for resource in resources}
    if len(files) < len(resources) or SIGNATURE_FILE in files:
        raise BadSignatureError("its signature names a file twice, or itself")
    found = document.predicate.registered
    return Statement(Identity(found.name, found.run_id, found.model_id), files)


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file below a folder but the signature; a link is refused."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadSignatureError(f"its file {name} is a link or a device")
        if path.is_file() and name != SIGNATURE_FILE:
            found[name] = digest(path)
    return found


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _HASH).hexdigest()


def is_inside(name: str) -> bool:
    """Whether a path stays in the folder that it is relative to, in the one way to write it."""
    path = PurePosixPath(name)
    return (
        not path.is_absolute()
        and ".." not in path.parts
        and path.as_posix() == name != "."
        and name.isprintable()
        and "\\" not in name
    )


def _inside(name: str) -> str:
    if not is_inside(name):
        raise ValueError("it is not a path in the model's folder")
    return name


class _Resource(BaseModel):
    name: Annotated[str, Field(max_length=1000), AfterValidator(_inside)]
    algorithm: Literal["sha256"]
    digest: str = Field(pattern=re.compile(r"\A[0-9a-f]{64}\Z"))


class _Registered(BaseModel):
    # MLflow's ids of models begin with "m-".
    model_config = ConfigDict(protected_namespaces=())

    name: str
    run_id: str
    model_id: str


class _Predicate(BaseModel):
    resources: list[_Resource] = Field(min_length=1, max_length=MOST_FILES)
    registered: _Registered


class _Document(BaseModel):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicate_type: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    predicate: _Predicate


def _root(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for _, each in sorted(files.items()):
        digest.update(bytes.fromhex(each))
    return digest.hexdigest()


def _describe(identity: Identity) -> str:
    return f"{identity.name!r} of run {identity.run_id or 'none'} ({identity.model_id or 'no id'})"
