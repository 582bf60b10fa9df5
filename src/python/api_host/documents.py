"""JSON in and out of the routes."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from api_host.problems import INVALID_BODY, Mistake, Problem, invalid_input, pointer

Document = TypeVar("Document")

_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def decode_json(body: bytes) -> Any:
    """The value that a JSON body holds. Raises `Problem`."""
    return decode_document(body, object)


def decode_document(body: bytes, document: type[Document]) -> Document:
    """What a JSON body holds, which must be of this type. Raises `Problem`."""
    try:
        return msgspec.json.decode(body, type=document)
    except msgspec.ValidationError as error:
        raise invalid_input([mistake(error)]) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise Problem(INVALID_BODY, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise Problem(INVALID_BODY, "the body is nested too deeply") from None


def mistake(error: msgspec.ValidationError, *steps: str | int) -> Mistake:
    """What msgspec says of JSON that is not of the type that was wanted.

    `steps`: from the top of the body to what msgspec was shown.
    """
    detail, _, path = str(error).partition(" - at `$")
    steps_below = (name or index for name, index in _STEP.findall(path))
    place = pointer(*steps, *steps_below)
    return Mistake(place, f"is not right: {detail[:1].lower()}{detail[1:]}")


def json_response(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A response that holds a document."""
    return Response(msgspec.json.encode(document), status, headers, "application/json")
