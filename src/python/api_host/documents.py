"""JSON in and out of the routes."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from api_host.bounds import Bounds
from api_host.problems import INVALID_BODY, Mistake, Problem, invalid_input, pointer

JSON = "application/json"

Document = TypeVar("Document")

_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def decode_json(body: bytes, bounds: Bounds) -> Any:
    """The value that a JSON body holds. Raises `Problem`."""
    return decode_document(body, object, bounds)


def decode_document(body: bytes, document: type[Document], bounds: Bounds) -> Document:
    """What a JSON body holds, which must be of this type. Raises `Problem`."""
    bounds.check_json(body)
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
    return Response(msgspec.json.encode(document), status, headers, JSON)


class JsonText(Response):
    """A response that holds JSON, with the headers that Starlette would find out for it."""

    def __init__(self, text: bytes) -> None:
        self.status_code = 200
        self.background = None
        self.body = text
        self.raw_headers = [
            (b"content-length", b"%d" % len(text)),
            (b"content-type", JSON.encode()),
        ]


def to_line(value: Any, *, default: Callable[[Any], Any]) -> str:
    """A value as one line of JSON, for logs: a fifth of the time that the standard library takes.

    `default`: gives a value in place of one that JSON does not know.
    """
    try:
        return msgspec.json.encode(value, enc_hook=default).decode()
    except Exception:  # noqa: BLE001 - half of a surrogate pair, an endless number: not for msgspec
        return json.dumps(value, default=default)
