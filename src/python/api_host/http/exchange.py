"""A request and its answer, as Hypercorn sees them."""

from dataclasses import dataclass

from hypercorn.protocol.events import EndBody, Event, Response, StreamClosed
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.typing import ASGISendEvent
from hypercorn.utils import suppress_body

from hostkit import exchange

BODY = "tripod.body"
"""The extension of a scope that holds a body which was there as soon as its request was."""


@dataclass(frozen=True)
class Whole(EndBody):
    """All of a body and its end."""

    data: bytes


class Exchange(exchange.Exchange):
    """One request and its answer.

    A body that came in one piece with its end can be had without waiting, and leaves as one event.
    Hypercorn 0.18 looks at the headers of an answer one by one, which whoever writes them out does
    too.
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
        elif message is not None and self._is_whole(message):
            await self.send(Whole(self.stream_id, message["body"]))  # type: ignore[typeddict-item]
            self.state = ASGIHTTPState.CLOSED
            await self.send(StreamClosed(self.stream_id))
        else:
            await super().app_send(message)

    def _is_whole(self, message: ASGISendEvent) -> bool:
        """Whether this is all of an answer's body, and nothing comes after it."""
        return (
            message["type"] == "http.response.body"
            and self.state is ASGIHTTPState.RESPONSE
            and not message.get("more_body", False)
            and type(message.get("body")) is bytes
            and not self.response.get("trailers", False)
            and not suppress_body(self.scope["method"], int(self.response["status"]))
        )
