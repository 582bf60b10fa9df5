"""Whose models are served: those whose files are signed with a key of MODEL_PUBLIC_KEYS."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from api_host.errors import ModelNotTrustedError
from api_host.models.registry import ModelVersion
from api_host.settings import ApiSettings
from hostkit.errors import HostError
from hostkit.signing.bundle import unseal
from hostkit.signing.errors import BadSignatureError, KeyFileError
from hostkit.signing.keys import PublicKey, fingerprint, read_public_key
from hostkit.signing.statement import SIGNATURE_FILE, Identity, Statement, decode

THE_ONE_STEP = (
    "on the Airflow server run 'airflow-host signing-key', save what it prints here as"
    " /etc/api-host/airflow.pub, and set MODEL_PUBLIC_KEYS=/etc/api-host/airflow.pub"
)


class Trust:
    """The keys that count. Where there are none, every model is served."""

    def __init__(self, keys: Collection[PublicKey] = ()) -> None:
        self._keys = tuple(keys)

    @classmethod
    def of(cls, settings: ApiSettings) -> Self:
        """The keys that the settings name. Raises `HostError`."""
        return cls([_read(path) for path in settings.model_public_keys])

    @property
    def is_wanted(self) -> bool:
        """Whether a model needs a signature."""
        return bool(self._keys)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of each key."""
        return tuple(map(fingerprint, self._keys))

    def read(self, version: ModelVersion, signature: bytes) -> Statement:
        """What a version's signature says. Raises `ModelNotTrustedError`."""
        with _translated():
            statement = decode(unseal(signature, self._keys))
            statement.check_identity(_identity(version))
        return statement

    def check(self, version: ModelVersion, folder: Path, files: Mapping[str, str]) -> None:
        """Raises `ModelNotTrustedError` unless a copy of a version is what was signed.

        `files`: the digests of what is in `folder`.
        """
        if not self.is_wanted:
            return
        try:
            signature = (folder / SIGNATURE_FILE).read_bytes()
        except FileNotFoundError:
            raise ModelNotTrustedError(f"it has no signature ({SIGNATURE_FILE})") from None
        statement = self.read(version, signature)
        with _translated():
            statement.check_files(files)


def check_names(statement: Statement, names: Collection[str]) -> None:
    """Raises `ModelNotTrustedError` unless these are the names of the files that were signed."""
    with _translated():
        statement.check_names(names)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BadSignatureError as error:
        raise ModelNotTrustedError(str(error)) from None


def _identity(version: ModelVersion) -> Identity:
    return Identity.of(version.name, version.run_id, version.source)


def _read(path: Path) -> PublicKey:
    try:
        return read_public_key(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, KeyFileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HostError(
            f"MODEL_PUBLIC_KEYS names {path}, which cannot be used ({reason}): save there what"
            " 'airflow-host signing-key' prints on the Airflow server, readable by this user"
        ) from None
