"""The application: its routes, and what runs beside them from its start to its end."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)

import httpx
import structlog
from prometheus_client import REGISTRY
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from api_host import health, metrics, predictions, trainings
from api_host.access import AccessMiddleware
from api_host.airflow_client import AirflowClient
from api_host.auth.guard import Guard
from api_host.auth.layer import AuthLayer
from api_host.host import Host
from api_host.lanes import Lanes
from api_host.links import Links, links_of
from api_host.models.catalog import Catalog
from api_host.models.extras import Extras
from api_host.models.follower import Follower
from api_host.models.loader import Loader
from api_host.models.probabilities import Probabilities
from api_host.models.registry import Registry
from api_host.models.store import Store
from api_host.models.trust import THE_ONE_STEP, Trust
from api_host.rates.addresses import Proxies
from api_host.rates.layer import RatesLayer
from api_host.rates.running import limiting
from api_host.reference import openapi
from api_host.routing import Routing
from api_host.settings import ApiSettings
from api_host.v2 import inference, repository
from hostkit.tls.client import ClientTls

REGISTRY_TIMEOUT_SECONDS = 10.0
AIRFLOW_TIMEOUT_SECONDS = 10.0
RECOVERY_SECONDS = 60.0
"""How long the last good copies of the models may take to load before this host answers."""

_log = structlog.get_logger("api_host.app")

MOST_THREADS = 64
"""Enough that models which take long leave threads to the others; most are never started."""

ROUTES = (
    # The first that matches is taken: what is asked most comes first.
    Route("/v1/models/{name}@{alias}/predict", predictions.predict, methods=["POST"]),
    Route("/v1/models/{name}/predict", predictions.predict, methods=["POST"]),
    Route("/v2/models/{name}/infer", inference.infer, methods=["POST"]),
    Route("/invocations", predictions.invoke, methods=["POST"]),
    Route("/v1/models/{name}/versions/{version}/predict", predictions.predict, methods=["POST"]),
    Route("/v1/models/{name}@{alias}/predict_proba", predictions.predict_proba, methods=["POST"]),
    Route("/v1/models/{name}/predict_proba", predictions.predict_proba, methods=["POST"]),
    Route(
        "/v1/models/{name}/versions/{version}/predict_proba",
        predictions.predict_proba,
        methods=["POST"],
    ),
    Route("/", health.home),
    Route("/livez", health.livez),
    Route("/readyz", health.readyz),
    Route("/metrics", metrics.metrics),
    Route("/openapi.json", openapi.get_openapi),
    Route("/docs", openapi.get_docs),
    Route("/ping", health.ping),
    Route("/health", health.ping),
    Route("/version", health.version),
    Route("/v1/models", predictions.list_models),
    Route("/v1/models/{name}", predictions.get_model),
    Route("/v2", inference.get_server),
    Route("/v2/health/live", inference.is_live),
    Route("/v2/health/ready", inference.is_ready),
    Route("/v2/models/{name}", inference.get_model),
    Route("/v2/models/{name}/ready", inference.is_model_ready),
    Route("/v2/models/{name}/versions/{version}", inference.get_model),
    Route("/v2/models/{name}/versions/{version}/ready", inference.is_model_ready),
    Route("/v2/models/{name}/versions/{version}/infer", inference.infer, methods=["POST"]),
    Route("/v2/repository/index", repository.index, methods=["POST"]),
    Route("/v2/repository/models/{name}/load", repository.load, methods=["POST"]),
    Route("/v2/repository/models/{name}/unload", repository.unload, methods=["POST"]),
    Route("/v1/trainings", trainings.start_training, methods=["POST"]),
    Route("/v1/trainings/{id}", trainings.get_training),
)


class _Application(Starlette):
    """Starlette without its layers that catch exceptions: ours does."""

    proxies = Proxies(())

    def build_middleware_stack(self) -> ASGIApp:
        routing = RatesLayer(Routing(self.router, ROUTES))
        known = AuthLayer(routing, ROUTES, lambda: self.state.host)
        return AccessMiddleware(known, self.proxies)


def create_app(
    settings: ApiSettings, grpc: socket.socket | None = None, shown: Collector = REGISTRY
) -> Starlette:
    """The application of a host with these settings. Raises `HostError`.

    `grpc`: listens for gRPC; None: nobody does.
    `shown`: by `/metrics`.
    """
    tls = ClientTls(settings.ssl_cert_file, settings.tls_certificate_file)
    trust = Trust.of(settings)
    if settings.is_reachable and not trust.is_wanted:
        _log.warning("models are served without a signature", detail=THE_ONE_STEP)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with _running(settings, tls, trust) as host, _grpc(host, grpc):
            app.state.host = host
            yield

    app = _Application(routes=ROUTES, lifespan=lifespan)
    app.proxies = Proxies(settings.forwarded_allow_ips)
    app.state.metrics = shown
    app.router.redirect_slashes = False  # A path is right, or it is a problem.
    return app


@asynccontextmanager
async def _running(settings: ApiSettings, tls: ClientTls, trust: Trust) -> AsyncIterator[Host]:
    async with AsyncExitStack() as stack:
        mlflow = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=settings.mlflow_tracking_uri,
                auth=_mlflow_account(settings),
                timeout=REGISTRY_TIMEOUT_SECONDS,
                verify=tls.context,
            )
        )
        airflow = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=settings.airflow_base_url,
                timeout=AIRFLOW_TIMEOUT_SECONDS,
                verify=tls.context,
            )
        )
        checks = await stack.enter_async_context(httpx.AsyncClient(verify=tls.context))
        threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="predict")
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        limiter = await stack.enter_async_context(limiting(settings))
        limits = settings.limits
        probabilities = Probabilities()
        stack.push_async_callback(probabilities.stop)
        catalog = Catalog()
        registry = Registry(mlflow, most_bytes=settings.model_max_bytes or None)
        store = Store.of(settings)
        loader = Loader(
            registry,
            store,
            trust,
            settings.model_trusted_types,
            compiles=settings.model_compile == "yes",
            pickles=settings.model_allow_pickle,
        )
        follower = Follower(
            catalog=catalog,
            registry=registry,
            store=store,
            loader=loader,
            alias=settings.model_alias,
            names=settings.model_names,
        )
        links = Links(links_of(settings), checks)
        guard = Guard(settings, checks)
        guard.start()
        for work in (follower.run(), links.run(), guard.run(), tls.keep_fresh()):
            stack.push_async_callback(_stop, asyncio.create_task(work))
        # Until then clients wait in the socket: after a restart none is told that nothing is here.
        with suppress(TimeoutError):
            await asyncio.wait_for(follower.recovered.wait(), RECOVERY_SECONDS)
        yield Host(
            settings=settings,
            guard=guard,
            catalog=catalog,
            follower=follower,
            extras=Extras(catalog, registry, loader, most=settings.model_extra_versions),
            links=links,
            airflow=AirflowClient(
                airflow,
                username=settings.airflow_username,
                password=settings.airflow_password.get_secret_value(),
            ),
            lanes=Lanes(limits.of, threads),
            limits=limits,
            proxies=Proxies(settings.forwarded_allow_ips),
            limiter=limiter,
            probabilities=probabilities,
            threads=threads,
        )


def _grpc(host: Host, listener: socket.socket | None) -> AbstractAsyncContextManager[None]:
    if listener is None:
        return nullcontext()
    # Its own log has lines of plain text for what clients do wrong.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Imported here: most hosts do without, and it takes memory.
    from api_host.rpc import server  # noqa: PLC0415

    return server.running(host, listener)


def _mlflow_account(settings: ApiSettings) -> httpx.BasicAuth | None:
    password = settings.mlflow_tracking_password
    if password is None:
        return None
    return httpx.BasicAuth(settings.mlflow_tracking_username, password.get_secret_value())


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
