"""Models in a registry, signed as train_model does it."""

import shutil
from pathlib import Path

from hostkit.signing.bundle import seal
from hostkit.signing.keys import make_key, public_text, read_private_key
from hostkit.signing.statement import SIGNATURE_FILE, Identity, Statement, digests
from tests.api_host.registry_server import RegistryServer


class Signer:
    """Who signs.

    `public`: the file of the public key.
    """

    def __init__(self, folder: Path, name: str = "airflow") -> None:
        self._key = read_private_key(make_key())
        self.public = folder / f"{name}.pub"
        self.public.write_text(public_text(self._key.public_key()))

    def sign(self, folder: Path, identity: Identity) -> None:
        """Writes the signature of a model into its folder."""
        statement = Statement(identity, digests(folder))
        (folder / SIGNATURE_FILE).write_bytes(seal(statement.encode(), self._key))

    def prepare(self, registry: RegistryServer, model: Path, folder: Path) -> Path:
        """Signs a copy of a model for iris's next version. Where its files are."""
        version = len(registry.models["iris"].versions) + 1 if "iris" in registry.models else 1
        files = folder / str(version)
        shutil.copytree(model, files)
        self.sign(files, identity_of(version))
        return files


def identity_of(version: int) -> Identity:
    """A version of iris, as the registry of the tests knows it."""
    return Identity("iris", f"run-{version}", f"m-{version}")
