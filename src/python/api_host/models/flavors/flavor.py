"""What a format says of a model's files, and how they become a model."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from api_host.compiled.engines import Engines
from api_host.errors import ModelRefusedError
from api_host.schema import Signature


class Flavor(Protocol):
    """One of the formats that MLflow knows, as a model's MLmodel file describes it."""

    @property
    def name(self) -> str:
        """As MLflow names it."""

    @property
    def platform(self) -> str:
        """As the metadata of v2 name it."""

    @property
    def file(self) -> str:
        """The name of the file that holds the model."""

    @property
    def is_pickle(self) -> bool:
        """Whether that file runs code when it is loaded."""

    def check_format(self, *, pickles: bool) -> None:
        """Raises `ModelRefusedError` if that file may not be loaded."""

    def further_files(self, folder: Path) -> Sequence[str]:
        """The names of the files that it needs as well. Raises `ModelRefusedError`."""

    def load(self, folder: Path, trusted: Collection[str], signature: Signature | None) -> Any:
        """What has the functions of the model. Raises `ModelRefusedError`.

        `trusted`: types of the operator's own that a file of skops may hold.
        """

    def engines(self, model: Any, function: str, signature: Signature | None) -> Engines | None:
        """What answers for a function of a loaded model.

        None if a faster equivalent is to be looked for.
        """


def plain_name(name: str) -> str:
    """The name of a file in the model's own folder. Raises `ModelRefusedError` for any other."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ModelRefusedError(f"its MLmodel file names {name!r}, which is not in its own folder")
    return name
