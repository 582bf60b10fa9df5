"""The files of certificates that a host's settings name: whether they can be used, until when."""

import os
import ssl
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hostkit.doctor.steps import Caution, Fault, NothingToCheck
from hostkit.doctor.users import user_name
from hostkit.errors import HostError
from hostkit.settings import Loaded
from hostkit.tls.client import IDENTITY
from hostkit.tls.expiry import files_of, life_of
from hostkit.tls.lives import Life, utc_now


@dataclass(frozen=True)
class _Named:
    """A file that a setting names.

    `place`: the setting with its own file and line.
    """

    variable: str
    path: Path
    place: str

    @property
    def is_shown(self) -> bool:
        """Whether it is this host's own, with its key, rather than the CAs that it believes."""
        return self.variable == IDENTITY

    @property
    def again(self) -> str:
        """What puts the right content there."""
        if self.is_shown:
            return (
                f"Copy the file that 'tls issue' or 'tls renew' made, where the CA is, to"
                f" {self.path}: it holds certificate and key. Or correct {self.place}."
            )
        return f"Copy the CA's own certificate (ca.pem) to {self.path}, or correct {self.place}."


def look(loaded: Loaded[Any]) -> str:
    """What is in them. Raises the worst `Fault`."""
    seen: list[str] = []
    faults: list[Fault] = []
    now = utc_now()
    for variable, path in files_of(loaded.settings).items():
        try:
            seen.append(_look_at(_Named(variable, path, loaded.place(variable)), now))
        except Fault as fault:
            faults.append(fault)
    if faults:
        raise min(faults, key=lambda fault: isinstance(fault, Caution))
    if not seen:
        raise NothingToCheck("none is set")
    return ", ".join(seen)


def _look_at(named: _Named, now: datetime) -> str:
    text = _read(named)
    try:
        life = life_of(named.variable, named.path)
    except HostError as error:
        raise Fault(str(error), "It is empty, cut off, or something else.", named.again) from None
    if named.is_shown:
        _refuse_others_reading(named)
        _refuse_wrong_key(named, text)
    if now < life.start:
        raise _too_early(named, life)
    if life.is_late(now):
        raise _ending(named, life, now)
    return f"{named.variable} {life.describe(now)}"


def _read(named: _Named) -> str:
    path, user = named.path, user_name(os.geteuid())
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise Fault(f"{path} does not exist", "It was never copied here.", named.again) from None
    except PermissionError:
        raise Fault(
            f"{path} cannot be read by {user} (Permission denied)",
            "It belongs to another user, or its folder is closed.",
            f"As root: 'chgrp {user} {path}' and 'chmod 640 {path}', or correct {named.place}.",
        ) from None
    except OSError as error:
        raise Fault(
            f"{path} cannot be read ({error.strerror})",
            "It is no file, or its disk has an error.",
            named.again,
        ) from None


def _refuse_others_reading(named: _Named) -> None:
    if named.path.stat().st_mode & stat.S_IROTH:
        raise Fault(
            f"everybody on this machine can read {named.path}, which holds a key",
            "The file was made without regard to who may read it.",
            f"'chmod o= {named.path}' as root, and 'tls renew --now' if others were here.",
        )


def _refuse_wrong_key(named: _Named, text: str) -> None:
    path = named.path
    if "PRIVATE KEY-----" not in text:
        raise Fault(
            f"{path} holds no key",
            "Only the certificate was copied; TLS needs its key too.",
            named.again,
        )
    try:
        # A password, so that nobody is asked for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, password="")
    except (OSError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise Fault(
                f"the key in {path} is not that of the first certificate in it",
                "Key and certificate are of two different times or hosts, or the CA's certificate"
                " stands first.",
                named.again,
            ) from None
        if "ENCRYPTED" in text:
            raise Fault(
                f"the key in {path} has a password",
                "A host has nobody whom it could ask for it.",
                f"'openssl pkey -in {path}' takes it off: put what it prints beside the certificate"
                f" into {path}.",
            ) from None
        raise Fault(
            f"{path} cannot be used ({error})",
            "Its key or its certificate is cut off or damaged.",
            named.again,
        ) from None


def _too_early(named: _Named, life: Life) -> Fault:
    return Fault(
        f"{named.path} is not valid before {life.start:%Y-%m-%d %H:%M} UTC",
        "The clock of this server is behind, or that of the machine where it was made is ahead.",
        "'timedatectl' on both shows which: 'timedatectl set-ntp true' there. If this one is right:"
        f" 'tls renew --now' where the CA is; then {_lowered(named.again)}",
    )


def _ending(named: _Named, life: Life, now: datetime) -> Fault:
    over = life.end <= now
    seen = f"{named.path} ({named.variable}) is valid {life.describe(now)}"
    if named.is_shown:
        return (Fault if over else Caution)(
            seen,
            "Nobody renewed it in time." if over else "Nobody has renewed it yet.",
            f"Where the CA is: 'tls renew'; then copy the new file to where {named.place} says.",
        )
    return (Fault if over else Caution)(
        seen,
        "The CA itself ends, and with it all that it issued.",
        "Make another one ('tls ca --folder NEW'), add its ca.pem to"
        f" {named.path} on every host, then 'tls issue' everything anew from it. If a new one is"
        f" there already, copy it to where {named.place} says.",
    )


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:]
