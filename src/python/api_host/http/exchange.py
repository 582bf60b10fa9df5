"""A request and its answer, as Hypercorn sees them."""

from dataclasses import dataclass

from hypercorn.protocol.events import EndBody, Event, Response
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.typing import ASGISendEvent

from hostkit import exchange

BODY = "tripod.body"
"""The extension of a scope that holds a body which was there as soon as its request was."""


@dataclass(frozen=True)
class Whole(EndBody):
    """All of a body and its end."""

    data: bytes


class Exchange(exchange.Exchange):
    """One request and its answer.

    A body that came in one piece with its end can be had without waiting. Hypercorn 0.18 looks at
    the headers of an answer one by one, which whoever writes them out does too.
    """

    async def handle(self, event: Event) -> None:
        """Gives the application what has arrived."""
        if type(event) is not Whole:
            await super().handle(event)
        elif not self.closed:
            body = event.data
            self.scope["extensions"][BODY] = {"body": body}
            await self.app_put({"type": "http.request", "body": body, "more_body": False})

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Sends a part of the application's answer; None: there is no more."""
        if (
            message is not None
            and message["type"] == "http.response.start"
            and self.state is ASGIHTTPState.REQUEST
        ):
            self.response = message
            status, headers = message["status"], list(message["headers"])
            await self.send(Response(self.stream_id, headers, status))
            self.state = ASGIHTTPState.RESPONSE
        else:
            await super().app_send(message)
