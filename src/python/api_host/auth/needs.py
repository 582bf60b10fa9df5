"""What a caller must be allowed for each route, and the model that a path names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from starlette.routing import Match, Route

from api_host.auth.caller import Access

REMEMBERED = 1000
"""Paths whose need is known without a look at each route."""


class Open(Enum):
    """What needs no access."""

    TO_ALL = "open"
    """Answers everybody."""

    TO_CALLERS = "callers"
    """Answers everybody who is known."""


Need = Access | Open

NEEDS: Mapping[str, Need] = {
    "/": Open.TO_ALL,
    "/livez": Open.TO_ALL,
    "/readyz": Open.TO_ALL,
    "/openapi.json": Open.TO_CALLERS,
    "/docs": Open.TO_CALLERS,
    # Of three protocols, whose clients send their headers here too: what probes a host has /livez.
    "/ping": Open.TO_CALLERS,
    "/health": Open.TO_CALLERS,
    "/version": Open.TO_CALLERS,
    "/v2": Open.TO_CALLERS,
    "/v2/health/live": Open.TO_CALLERS,
    "/v2/health/ready": Open.TO_CALLERS,
    "/metrics": Access.OPERATE,
    "/invocations": Access.PREDICT,
    "/v1/models": Access.PREDICT,
    "/v1/models/{name}": Access.PREDICT,
    "/v1/models/{name}/predict": Access.PREDICT,
    "/v1/models/{name}@{alias}/predict": Access.PREDICT,
    "/v1/models/{name}/versions/{version}/predict": Access.PREDICT,
    "/v1/models/{name}/predict_proba": Access.PREDICT,
    "/v1/models/{name}@{alias}/predict_proba": Access.PREDICT,
    "/v1/models/{name}/versions/{version}/predict_proba": Access.PREDICT,
    "/v2/models/{name}": Access.PREDICT,
    "/v2/models/{name}/ready": Access.PREDICT,
    "/v2/models/{name}/infer": Access.PREDICT,
    "/v2/models/{name}/versions/{version}": Access.PREDICT,
    "/v2/models/{name}/versions/{version}/ready": Access.PREDICT,
    "/v2/models/{name}/versions/{version}/infer": Access.PREDICT,
    "/v2/repository/index": Access.PREDICT,
    "/v2/repository/models/{name}/load": Access.OPERATE,
    "/v2/repository/models/{name}/unload": Access.OPERATE,
    "/v1/trainings": Access.TRAIN,
    "/v1/trainings/{id}": Access.TRAIN,
}
"""By the path of a route. What has none here needs `NEED_OF_OTHERS`."""

NEED_OF_OTHERS = Open.TO_CALLERS
"""Of paths that lead nowhere: a stranger does not learn which those are."""

CHANGES: Mapping[str, str] = {
    "/v1/trainings": "training.start",
    "/v2/repository/models/{name}/load": "model.load",
    "/v2/repository/models/{name}/unload": "model.unload",
}
"""What is audited, also where it is refused, by the path of its route."""


@dataclass(frozen=True)
class Way:
    """What a request asks for.

    `model`: that its path names, if any.
    `change`: what it would do, if it is audited.
    """

    need: Need
    model: str | None = None
    change: str | None = None


def ways(routes: Sequence[Route]) -> Callable[[str, str], Way]:
    """What tells of a method and a path where they lead, as `Routing` finds it too."""

    @lru_cache(REMEMBERED)
    def find(method: str, path: str) -> Way:
        scope = {"type": "http", "method": method, "path": path}
        partial: Way | None = None
        for route in routes:
            match, found = route.matches(scope)
            if match is Match.NONE:
                continue
            way = _way(route, found["path_params"].get("name"))
            if match is Match.FULL:
                return way
            partial = partial or way
        return partial or Way(NEED_OF_OTHERS)

    return find


def _way(route: Route, model: str | None) -> Way:
    return Way(NEEDS.get(route.path, NEED_OF_OTHERS), model, CHANGES.get(route.path))
