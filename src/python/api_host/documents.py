"""JSON in and out of the routes."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from api_host.problems import INVALID_BODY, Problem


def decode_json(body: bytes) -> Any:
    """The value that a JSON body holds. Raises `Problem`."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Problem(INVALID_BODY, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise Problem(INVALID_BODY, "the body is nested too deeply") from None


def json_response(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A response that holds a document."""
    return Response(msgspec.json.encode(document), status, headers, "application/json")
