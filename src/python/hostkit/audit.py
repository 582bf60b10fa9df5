"""The audit: who changed what, from where, and whether they were allowed to. A line each."""

import json
import os
import pwd
import sys
from datetime import UTC, datetime

import structlog

from hostkit import journal

_log = structlog.get_logger("audit")


def note(
    action: str, on: str, *, who: str, address: str | None = None, allowed: bool = True
) -> None:
    """Writes one line, with the event `audit`, where all others go.

    `action`: what, as a dotted name: `training.start`, `model.load`, `key.add`, `user.remove`.
    `on`: the object: `model:iris`, `key:shop`, `release:0123456789ab`.
    `who`: the caller's name (`key:shop`), or the user of this machine (`os:alice`).
    `address`: of the client; None: this machine.
    """
    _log.info("audit", action=action, on=on, who=who, address=address, allowed=allowed)


def note_command(host: str, action: str, on: str, *, allowed: bool = True) -> None:
    """Writes the same line for a command that somebody has run on this machine.

    It goes to the journal, where `journalctl -t HOST` finds it, and where there is none, to
    standard error.
    """
    line = json.dumps(
        {
            "action": action,
            "on": on,
            "who": user(),
            "address": None,
            "allowed": allowed,
            "event": "audit",
            "level": "info",
            "logger": "audit",
            "timestamp": f"{datetime.now(UTC).replace(tzinfo=None).isoformat()}Z",
        }
    )
    if not journal.send(line, identifier=host):
        print(line, file=sys.stderr)  # noqa: T201 (commands configure no log)


def user() -> str:
    """Who runs this command: behind sudo, whoever asked for it."""
    name = os.environ.get("SUDO_USER") if os.geteuid() == 0 else None
    return f"os:{name or _own_name()}"


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # A number that no database of users has.
        return str(os.geteuid())
