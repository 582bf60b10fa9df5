"""The audit: who changed what, from where, and whether they were allowed to. A line each."""

import structlog

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
