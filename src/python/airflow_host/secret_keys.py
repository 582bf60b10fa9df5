"""The keys that Airflow's processes share: made once, kept in files that only the host can read."""

import base64
import os
import secrets
from collections.abc import Callable, Collection
from pathlib import Path

from hostkit.errors import HostError
from hostkit.files import read_or_create
from hostkit.signing.keys import make_key

SIGNING_KEY = "MODEL_SIGNING_KEY"
"""The private key that signs models."""

FOLDER = "secrets"
"""Below AIRFLOW_HOME."""


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _random_text() -> str:
    return secrets.token_urlsafe(64)


KEYS: dict[str, Callable[[], str]] = {
    "AIRFLOW__CORE__FERNET_KEY": _fernet_key,
    "AIRFLOW__API__SECRET_KEY": _random_text,
    "AIRFLOW__API_AUTH__JWT_SECRET": _random_text,
    SIGNING_KEY: make_key,
}
"""How each key is made, by its variable."""


def make_keys(home: Path, names: Collection[str] = tuple(KEYS)) -> dict[str, Path]:
    """The files of keys by variable, made at the first start. Makes AIRFLOW_HOME too."""
    folder = home / FOLDER
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            read_or_create(folder / name, KEYS[name])
    except OSError as error:
        raise HostError(
            f"{error.filename or folder} cannot be used ({error.strerror}): AIRFLOW_HOME must be a"
            " folder that this user may write to"
        ) from None
    return {name: folder / name for name in names}
