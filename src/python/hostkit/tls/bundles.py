"""The certificates that a CA has issued: a file each, key and certificate together.

One file, so that it is replaced in one step and a key is never beside another's certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509

from hostkit.errors import HostError
from hostkit.files import write_atomically
from hostkit.tls.authority import CERTIFICATE, Authority
from hostkit.tls.lives import Life
from hostkit.tls.names import allows, read_names, texts_of

_FOLDER = "issued"
_LONGEST_FILE_NAME = 200


@dataclass(frozen=True)
class Bundle:
    """An issued certificate.

    `file`: holds it and its key.
    """

    file: Path
    certificate: x509.Certificate

    @classmethod
    def read(cls, file: Path) -> Self:
        """What is in a file. Raises `HostError`."""
        try:
            return cls(file, x509.load_pem_x509_certificate(file.read_bytes()))
        except FileNotFoundError:
            raise HostError(f"there is no {file}: 'tls issue' makes it") from None
        except ValueError:
            raise HostError(
                f"{file} holds no certificate (PEM): remove it, and 'tls issue' it again"
            ) from None

    @property
    def names(self) -> tuple[x509.GeneralName, ...]:
        """Whom it is for."""
        try:
            extension = self.certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
        except x509.ExtensionNotFound:
            return ()
        return tuple(extension.value)

    @property
    def life(self) -> Life:
        """From when until when it is valid."""
        return Life(self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc)

    def describe(self, now: datetime) -> str:
        """File, names and end, for a person."""
        names = ", ".join(texts_of(self.names)) or self.certificate.subject.rfc4514_string()
        return f"{self.file}: for {names}, {self.life.describe(now)}"


def issue(
    folder: Path, texts: Sequence[str], life: timedelta, now: datetime
) -> tuple[Bundle, bool]:
    """The certificate for a host by its names, and whether it had to be made.

    It is made if it is not there, is for other names, or is due. Raises `HostError`.
    """
    authority = Authority.open(folder)
    names = read_names(texts)
    file = _file(folder, texts_of(names)[0])
    if file.exists():
        bundle = Bundle.read(file)
        if set(bundle.names) == set(names) and not _is_due(bundle, authority, now):
            return bundle, False
    return _write(file, authority, names, life, now), True


def renew(
    folder: Path, texts: Sequence[str], now: datetime, *, at_once: bool = False
) -> list[tuple[Bundle, bool]]:
    """Makes new keys and certificates for the same hosts, where they are due.

    `texts`: the first name of each host; empty: all.
    `at_once`: also where they are not due.
    Returns each, and whether it was made. Raises `HostError` when all that can be done is done.
    """
    authority = Authority.open(folder)
    wanted = [_file(folder, name) for name in texts_of(read_names(texts))]
    done, problems = [], []
    for file in wanted or issued(folder):
        try:
            bundle = Bundle.read(file)
            if not at_once and not _is_due(bundle, authority, now):
                done.append((bundle, False))
                continue
            length = bundle.life.end - bundle.life.start
            done.append((_write(file, authority, bundle.names, length, now), True))
        except HostError as error:
            problems.append(str(error))
    if problems:
        raise HostError("\n".join(problems))
    return done


def everything(folder: Path) -> list[Bundle]:
    """The CA's own certificate, and all that it issued. Raises `HostError`."""
    own = Bundle(folder / CERTIFICATE, Authority.open(folder).certificate)
    return [own, *(Bundle.read(file) for file in issued(folder))]


def issued(folder: Path) -> list[Path]:
    """The files of what a CA issued."""
    return sorted((folder / _FOLDER).glob("[!.]*.pem"))


def _is_due(bundle: Bundle, authority: Authority, now: datetime) -> bool:
    return bundle.life.is_due(now) or not authority.signed(bundle.certificate)


def _file(folder: Path, name: str) -> Path:
    if len(name) > _LONGEST_FILE_NAME:
        raise HostError(f"{name} is too long for a file's name: put a shorter name first")
    return folder / _FOLDER / f"{name}.pem"


def _write(
    file: Path,
    authority: Authority,
    names: Sequence[x509.GeneralName],
    life: timedelta,
    now: datetime,
) -> Bundle:
    _refuse_outside(authority, names)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomically(file, authority.issue(names, life, now), mode=0o600)
    return Bundle.read(file)


def _refuse_outside(authority: Authority, names: Sequence[x509.GeneralName]) -> None:
    """Nobody would believe a certificate for names beyond the limits of its CA."""
    limits = authority.limits
    if limits is None:
        return
    outside = [name for name in names if not allows(limits, name)]
    if outside:
        realms = ", ".join(texts_of(limits.permitted_subtrees or ()))
        raise HostError(
            f"this CA may not sign for {', '.join(texts_of(outside))}, only for {realms} and what"
            " is below: choose a name there, or make another CA in another folder ('tls ca --only')"
        )
