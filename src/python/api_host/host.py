"""What the routes share: one object that the application carries."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from api_host.airflow_client import AirflowClient
from api_host.auth.caller import caller_of
from api_host.auth.guard import Guard
from api_host.lanes import Lanes
from api_host.limits import ModelLimits
from api_host.links import Links
from api_host.models.catalog import Catalog
from api_host.models.extras import Extras
from api_host.models.follower import Follower
from api_host.models.probabilities import Probabilities
from api_host.rates.addresses import Proxies
from api_host.rates.limiter import Limiter
from api_host.settings import ApiSettings


@dataclass(frozen=True)
class Host:
    """The parts of a running API host.

    `guard`: who may do what.
    `catalog`: the models that are served.
    `follower`: what keeps the catalog as the registry wants it.
    `extras`: further versions, loaded when they are asked for.
    `links`: how the other servers are.
    `airflow`: the client of Airflow.
    `probabilities`: what answers for those of models.
    `limits`: what each model may be asked.
    `proxies`: those whose word is taken for where a request comes from.
    `limiter`: holds callers to what they may ask.
    `lanes`: the ways to the models.
    `threads`: where predictions run, so that nothing else waits for them.
    """

    settings: ApiSettings
    guard: Guard
    catalog: Catalog
    follower: Follower
    extras: Extras
    links: Links
    airflow: AirflowClient
    probabilities: Probabilities
    limits: ModelLimits
    proxies: Proxies
    limiter: Limiter
    lanes: Lanes
    threads: Executor


def catalog_of(request: Request) -> Catalog:
    """The models of this host, as far as the caller of this request may know of them."""
    return host_of(request).catalog.limited_to(caller_of(request).models)


def host_of(request: Request) -> Host:
    """The host whose application got this request."""
    return cast("Host", request.app.state.host)
