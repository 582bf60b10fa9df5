"""A request and its answer, as Hypercorn sees them."""

from hypercorn.protocol.events import Body, EndBody, Event

from hostkit import exchange

BODY = "tripod.body"
"""The extension of a scope that holds a body which was there as soon as its request was."""


class Exchange(exchange.Exchange):
    """One request and its answer.

    A body that came in one piece with its end can be had without waiting.
    """

    _pieces = 0
    _body = b""

    async def handle(self, event: Event) -> None:
        """Gives the application what has arrived."""
        if isinstance(event, Body):
            self._pieces += 1
            self._body = bytes(event.data) if self._pieces == 1 else b""
        elif isinstance(event, EndBody) and self._pieces <= 1:
            self.scope["extensions"][BODY] = {"body": self._body}
        await super().handle(event)
