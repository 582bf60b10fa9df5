"""The pulse of a server: systemd hears of it as long as it is well."""

import asyncio
from collections.abc import Awaitable, Callable

from hostkit import notify

SECONDS_UNTIL_READY = 0.1
"""Between two looks at a host that starts."""

SECONDS_WHEN_READY = 5.0
"""The same later: the age of what `systemctl status` shows, where no watchdog asks sooner."""


async def keep_telling(look: Callable[[], Awaitable[str | None]]) -> None:
    """Tells systemd for ever how a host is: ready as soon as it is well, then that it still is.

    How long a start may take is not the watchdog's to say.

    `look`: returns a sentence if the host is well and None if it is not, after any time: a host
    that cannot say how it is will be ended.
    """
    if not notify.listened_to():
        return
    messages = [notify.READY]
    pause = SECONDS_UNTIL_READY
    while True:
        if sentence := await look():
            notify.send(*messages, notify.status(sentence))
            messages = [notify.WATCHDOG]
            pause = min(SECONDS_WHEN_READY, notify.watchdog_seconds() / 2)
        elif messages == [notify.READY]:
            # A service that starts anew on a reload is watched from its first moment.
            notify.send(notify.WATCHDOG)
        await asyncio.sleep(pause)
