"""One model behind both servers: this host, and MLflow's own scoring server."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import mlflow.pyfunc
from mlflow.pyfunc import scoring_server

from api_host.app import create_app
from api_host.settings import ApiSettings
from tests.api_host.conftest import until_served
from tests.api_host.registry_server import running

MOST_ROWS = 100


@dataclass(frozen=True)
class Peers:
    """Two servers of the same model, in one event loop that runs while something is asked.

    `ours`, `theirs`: clients of them.
    """

    ours: httpx.AsyncClient
    theirs: httpx.AsyncClient
    _runner: asyncio.Runner

    def ask(
        self, method: str, path: str, body: bytes = b"", content_type: str | None = None
    ) -> tuple[httpx.Response, httpx.Response]:
        """What this host answers, and what MLflow answers."""
        headers = {} if content_type is None else {"Content-Type": content_type}

        async def both() -> tuple[httpx.Response, httpx.Response]:
            return (
                await self.ours.request(method, path, content=body, headers=headers),
                await self.theirs.request(method, path, content=body, headers=headers),
            )

        return self._runner.run(both())


@contextmanager
def serving(folder: Path, state: Path) -> Iterator[Peers]:
    """Both servers, of the model in `folder`, until the block ends."""
    with running() as registry, asyncio.Runner() as runner:
        registry.promote("iris", folder)
        settings = ApiSettings(
            mlflow_tracking_uri=registry.url,
            airflow_base_url="http://127.0.0.1:9",
            state_directory=state,
            api_max_rows=MOST_ROWS,
            api_rate_requests=100_000,  # All clients of a test are one caller.
        )
        stack = AsyncExitStack()

        async def start() -> Peers:
            app = create_app(settings)
            await stack.enter_async_context(app.router.lifespan_context(app))
            ours = await stack.enter_async_context(_client(app))
            await until_served(ours, "1")
            model = mlflow.pyfunc.load_model(str(folder))
            theirs = await stack.enter_async_context(_client(scoring_server.init(model)))
            return Peers(ours, theirs, runner)

        try:
            yield runner.run(start())
        finally:
            runner.run(stack.aclose())


def _client(app: object) -> httpx.AsyncClient:
    # An answer, as a client of a real server has it, also where the application breaks.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://server")
