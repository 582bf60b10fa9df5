"""JSON in and out."""

import json

from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from api_host.documents import JsonText, to_line

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_whatever_is_logged_is_one_line_that_says_the_same(value: object) -> None:
    line = to_line({"value": value}, default=repr)
    assert "\n" not in line
    assert json.loads(line) == json.loads(json.dumps({"value": value}))


def test_what_json_does_not_know_is_logged_as_well() -> None:
    strange = {"value": object, "half": "\ud800", "large": 2**70}
    assert json.loads(to_line(strange, default=repr)) == {
        **strange,
        "value": "<class 'object'>",
    }


@given(st.binary())
def test_a_text_has_the_headers_that_starlette_would_give_it(text: bytes) -> None:
    ours, theirs = JsonText(text), Response(text, media_type="application/json")
    assert (ours.body, ours.status_code) == (theirs.body, theirs.status_code)
    assert ours.raw_headers == theirs.raw_headers
