"""What is said of `params` that are not right, or of no use."""

import json

import pytest
from structlog.testing import capture_logs

from api_host.parameters import UNKNOWN, compile_parameters
from api_host.problems import Problem

SPECS = [
    {"name": "count", "type": "long", "default": 1, "shape": None},
    {"name": "several", "type": "double", "default": [0.5], "shape": [-1]},
]
PARAMETERS = compile_parameters(json.dumps(SPECS))


def test_every_mistake_is_named_with_its_place() -> None:
    with pytest.raises(Problem) as refusal:
        PARAMETERS.check({"count": "x", "several": [1, True]})
    assert refusal.value.detail == (
        '/params/count must be a whole number, and is the string "x";'
        " /params/several must be a number, and is true"
    )


@pytest.mark.parametrize("given", [{"several": None}, {"several": 5}, {"several": [[1]]}])
def test_an_array_must_be_one(given: object) -> None:
    with pytest.raises(Problem, match="must be an array of values, each a number"):
        PARAMETERS.check(given)


def test_what_nobody_knows_is_ignored_and_logged() -> None:
    with capture_logs() as logs:
        PARAMETERS.check({"count": 5, "other": 1})
        UNKNOWN.check({"any": 1})
        UNKNOWN.check([1])
    assert [log["params"] for log in logs] == [["other"], ["any"], "an array"]


def test_nothing_is_said_of_what_is_right() -> None:
    with capture_logs() as logs:
        PARAMETERS.check({"count": 5, "several": []})
        PARAMETERS.check({})
        PARAMETERS.check(None)
        UNKNOWN.check({})
    assert logs == []
