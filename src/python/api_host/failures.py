"""What is answered where a route raised an exception."""

from starlette.exceptions import HTTPException
from starlette.types import Scope

from api_host.errors import AirflowAwayError
from api_host.problems import AIRFLOW_AWAY, INTERNAL, METHOD_NOT_ALLOWED, NOT_FOUND, Problem

RETRY_SECONDS = 5


def problem_of(error: Exception, scope: Scope, request_id: str) -> Problem:
    """The problem that an exception means to the client of a request."""
    match error:
        case Problem():
            return error
        case AirflowAwayError():
            return Problem(AIRFLOW_AWAY, str(error), retry_after=RETRY_SECONDS)
        case HTTPException():
            return _of_starlette(error, scope)
    return Problem(INTERNAL, f"the log of this host says more, under request_id {request_id}")


def _of_starlette(error: HTTPException, scope: Scope) -> Problem:
    """Starlette raises when there is no such path, or not with this method."""
    path = scope["path"]
    if error.status_code != METHOD_NOT_ALLOWED.status:
        return Problem(NOT_FOUND, f"{path} is not a path of this host")
    allowed = (error.headers or {}).get("Allow", "")
    detail = f"{path} takes {allowed}, not {scope['method']}"
    return Problem(METHOD_NOT_ALLOWED, detail, headers=error.headers)
