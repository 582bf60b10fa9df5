"""Problem documents (RFC 9457): every answer that is not a success has this one form."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

V2 = "/v2"
V2_MEDIA_TYPE = "application/json"
"""Below that path: clients of that protocol show the member `error` of plain JSON only."""

MOST_ERRORS = 100
"""How many mistakes one document names: a body with a million of them is not answered in kind."""


@dataclass(frozen=True)
class Kind:
    """A kind of problem that a program can tell from others.

    `name`: the end of its `type`, which never changes.
    `status`: of the HTTP response.
    `title`: what it is, always in the same words.
    """

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """The URI that stands for this kind."""
        return f"urn:tripod:problem:{self.name}"


INVALID_BODY = Kind("invalid-body", 400, "The body could not be read")
INVALID_INVOCATION = Kind("invalid-invocation", 400, "The model could not be asked with this")
INVALID_HEADER = Kind("invalid-header", 400, "A header is not right")
INVALID_REQUEST = Kind("invalid-request", 400, "This is no request that could be read")
INVALID_QUERY = Kind("invalid-query", 400, "The query of the URL is not right")
UNAUTHENTICATED = Kind("unauthenticated", 401, "This host does not know who asks")
FORBIDDEN = Kind("forbidden", 403, "This caller may not do this")
NOT_FOUND = Kind("not-found", 404, "There is nothing here")
UNKNOWN_MODEL = Kind("unknown-model", 404, "There is no such model")
UNKNOWN_TRAINING = Kind("unknown-training", 404, "There is no such training")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "This path does not take this method")
SLOW_BODY = Kind("slow-body", 408, "The body took too long to arrive")
AMBIGUOUS_MODEL = Kind("ambiguous-model", 409, "Several models are served, and none is named")
REGISTRY_DECIDES = Kind("registry-decides", 409, "The registry decides what is served")
KEY_REUSED = Kind("idempotency-key-reused", 422, "The idempotency key belongs to another request")
BODY_TOO_LARGE = Kind("body-too-large", 413, "The body is too large")
TOO_MANY_ROWS = Kind("too-many-rows", 413, "The request has too many rows")
TOO_MANY_COLUMNS = Kind("too-many-columns", 413, "The request has too many columns")
STRING_TOO_LONG = Kind("string-too-long", 413, "A string of the request is too long")
UNSUPPORTED_MEDIA_TYPE = Kind("unsupported-media-type", 415, "This content type is not understood")
TOO_MANY_REQUESTS = Kind("too-many-requests", 429, "More is asked than one caller may ask")
HEADERS_TOO_LARGE = Kind("headers-too-large", 431, "The headers are too many or too large")
INVALID_INPUT = Kind("invalid-input", 422, "The input does not answer what the model asks for")
INVALID_TRAINING = Kind("invalid-training", 422, "The training cannot be started like this")
PREDICTION_FAILED = Kind("prediction-failed", 422, "The model could not predict from this input")
MODEL_REFUSED = Kind("model-refused", 422, "This model is not one that this host loads")
NO_PROBABILITIES = Kind("no-probabilities", 422, "This model gives no probabilities")
INTERNAL = Kind("internal", 500, "Something went wrong here")
NO_MODEL = Kind("no-model", 503, "No model is served yet")
OVERLOADED = Kind("overloaded", 503, "More is asked of the model than it can answer")
PREDICTION_TIMEOUT = Kind("prediction-timeout", 503, "The prediction took too long")
REGISTRY_AWAY = Kind("registry-away", 503, "MLflow does not answer")
AIRFLOW_AWAY = Kind("airflow-away", 503, "Airflow does not answer")


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with a body.

    `pointer`: where, as a JSON Pointer (RFC 6901) into the body.
    `detail`: what, for a person.
    """

    pointer: str
    detail: str


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong (RFC 9457).

    `type`: the kind of problem, for programs.
    `title`: the kind of problem, always in the same words.
    `status`: of the HTTP response.
    `detail`: what happened this time, for a person.
    `error_code`, `message`: the same as MLflow's scoring server says it.
    `errors`: what is wrong with the body, and where; the first hundred mistakes.
    `errors_total`: how many mistakes there are.
    `request_id`: under which the log of this host says more.
    `error`: the detail, as clients of the Open Inference Protocol look for it.
    `next_row`: of a stream that ends here: the first row that was not answered.
    """

    type: str
    title: str
    status: int
    detail: str
    error_code: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    errors: tuple[Mistake, ...] | UnsetType = UNSET
    errors_total: int | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    next_row: int | UnsetType = UNSET


class Problem(Exception):  # noqa: N818 - RFC 9457's own name for it
    """An answer that is not a success; raise it anywhere below a route.

    `kind`: which one it is.
    `detail`: what happened this time, for a person.
    `mistakes`: what is wrong with the body, and where.
    `retry_after`: seconds after which the same request may succeed.
    `members`: further members of the document.
    `further_headers`: those whose names `headers` has too.
    `next_row`: of a stream that ends here: the first row that was not answered.
    `again`: counts the same as refused once more, and says so, if it would be now too; None: the
    same has to be looked at again.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        mistakes: Iterable[Mistake] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        **members: str,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.mistakes = tuple(mistakes)
        self.headers = dict(headers or {})
        self.further_headers: tuple[tuple[str, str], ...] = ()
        self.members = members
        self.next_row: int | None = None
        self.again: Callable[[], bool] | None = None
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    def document(self, request_id: str | None = None, path: str = "") -> ProblemDocument:
        """The document that says so to a request for `path`."""
        return ProblemDocument(
            type=self.kind.type,
            title=self.kind.title,
            status=self.kind.status,
            detail=self.detail,
            errors=self.mistakes[:MOST_ERRORS] or UNSET,
            errors_total=len(self.mistakes) or UNSET,
            request_id=UNSET if request_id is None else request_id,
            error=self.detail if is_v2(path) else UNSET,
            next_row=UNSET if self.next_row is None else self.next_row,
            **self.members,
        )

    def response(self, request_id: str | None = None, path: str = "") -> Response:
        """The HTTP response that says so to a request for `path`."""
        text = msgspec.json.encode(self.document(request_id, path))
        response = Response(text, self.kind.status, self.headers, media_type(path))
        for name, value in self.further_headers:
            # Fields of their own: not every browser looks behind the first challenge of one.
            response.headers.append(name, value)
        return response


def is_v2(path: str) -> bool:
    """Whether a path is one of the Open Inference Protocol v2."""
    return path == V2 or path.startswith(f"{V2}/")


def media_type(path: str) -> str:
    """The content type of a problem document, as an answer to a request for `path`."""
    return V2_MEDIA_TYPE if is_v2(path) else MEDIA_TYPE


def pointer(*steps: str | int) -> str:
    """The JSON Pointer that takes these steps from the top of a document."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def too_many_rows(count: int, most: int) -> Problem:
    """What is said to a body with more rows than this host takes at once."""
    return Problem(TOO_MANY_ROWS, f"the body has {count} rows, and may have {most}")


def invalid_input(mistakes: Sequence[Mistake]) -> Problem:
    """What is said to a body with these mistakes, of which there is at least one."""
    first = mistakes[0]
    more = f", and {len(mistakes) - 1} more" if len(mistakes) > 1 else ""
    sentence = f"{first.pointer} {first.detail}{more}".lstrip()
    return Problem(INVALID_INPUT, sentence, mistakes=mistakes)
