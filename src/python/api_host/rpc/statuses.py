"""The status of gRPC that says what a problem document says over HTTP."""

from grpc import StatusCode

from api_host import problems
from api_host.problems import Kind, Problem

PROBLEM_TYPE = "problem-type"
RETRY_AFTER = "retry-after"
PUSHBACK = "grpc-retry-pushback-ms"
"""The same for gRPC's own clients, which obey it where they are told to retry."""

MOST_CHARACTERS = 1000
"""How long a detail may be: clients take 8 KiB of metadata, and percent-encoded."""

_CODES = {
    problems.INVALID_BODY: StatusCode.INVALID_ARGUMENT,
    problems.UNAUTHENTICATED: StatusCode.UNAUTHENTICATED,
    problems.FORBIDDEN: StatusCode.PERMISSION_DENIED,
    problems.NOT_FOUND: StatusCode.NOT_FOUND,
    problems.UNKNOWN_MODEL: StatusCode.NOT_FOUND,
    problems.SLOW_BODY: StatusCode.DEADLINE_EXCEEDED,
    problems.REGISTRY_DECIDES: StatusCode.FAILED_PRECONDITION,
    problems.BODY_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    problems.TOO_MANY_ROWS: StatusCode.INVALID_ARGUMENT,
    problems.TOO_MANY_COLUMNS: StatusCode.INVALID_ARGUMENT,
    problems.STRING_TOO_LONG: StatusCode.INVALID_ARGUMENT,
    problems.HEADERS_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    problems.INVALID_INPUT: StatusCode.INVALID_ARGUMENT,
    problems.PREDICTION_FAILED: StatusCode.INVALID_ARGUMENT,
    problems.MODEL_REFUSED: StatusCode.FAILED_PRECONDITION,
    problems.NO_MODEL: StatusCode.UNAVAILABLE,
    problems.TOO_MANY_REQUESTS: StatusCode.RESOURCE_EXHAUSTED,
    problems.OVERLOADED: StatusCode.RESOURCE_EXHAUSTED,
    problems.PREDICTION_TIMEOUT: StatusCode.DEADLINE_EXCEEDED,
    problems.REGISTRY_AWAY: StatusCode.UNAVAILABLE,
}


def code(kind: Kind) -> StatusCode:
    """The code that stands for a kind of problem."""
    return _CODES.get(kind, StatusCode.INTERNAL)


def metadata(problem: Problem) -> list[tuple[str, str]]:
    """What a program may want to know besides the code and the detail."""
    found = [(PROBLEM_TYPE, problem.kind.type)]
    if seconds := problem.headers.get("Retry-After"):
        found.append((RETRY_AFTER, seconds))
        found.append((PUSHBACK, f"{seconds}000"))
    return found


def detail(problem: Problem) -> str:
    """What happened, for a person: short enough for every client."""
    text = problem.detail
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
