"""Problem documents."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from api_host import problems
from api_host.problems import INVALID_INPUT, MOST_ERRORS, Kind, Mistake, Problem, pointer

KINDS = [value for value in vars(problems).values() if isinstance(value, Kind)]


def test_types_are_told_apart_and_are_uris() -> None:
    types = [kind.type for kind in KINDS]
    assert len(types) == len(set(types)) > 20
    assert all(re.fullmatch(r"urn:tripod:problem:[a-z-]+", type_) for type_ in types)
    assert all(400 <= kind.status < 600 for kind in KINDS)


def _steps(text: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


@given(st.lists(st.text() | st.integers(0)))
def test_a_pointer_leads_back_to_its_steps(steps: list[str | int]) -> None:
    assert _steps(pointer(*steps)) == [str(step) for step in steps]


@given(st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=200))
def test_a_response_is_one_document(detail: str, mistakes: list[tuple[str, str]]) -> None:
    problem = Problem(INVALID_INPUT, detail, mistakes=[Mistake(*m) for m in mistakes])
    response = problem.response("id")
    document = json.loads(bytes(response.body))
    assert response.headers["Content-Type"] == "application/problem+json"
    assert document["status"] == response.status_code == 422
    assert document["detail"] == detail
    assert document["request_id"] == "id"
    assert len(document.get("errors", ())) == min(len(mistakes), MOST_ERRORS)
    assert document.get("errors_total", 0) == len(mistakes)


def test_retry_after_is_a_header() -> None:
    assert Problem(INVALID_INPUT, "", retry_after=5).response().headers["Retry-After"] == "5"
