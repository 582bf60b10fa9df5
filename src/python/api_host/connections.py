"""Connections that end when their client ends them."""

from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer


class _PromptServer(TCPServer):
    """One connection.

    Hypercorn 0.18 waits until `keep_alive_timeout` is up before it lets go of a connection that its
    client has closed. Clients that make a connection for each request would use up all descriptors.
    """

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


def let_go_with_clients() -> None:
    """Makes Hypercorn in this process let go of a connection as soon as its client has."""
    setattr(run, TCPServer.__name__, _PromptServer)
