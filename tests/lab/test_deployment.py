"""Deployment: env files get the values that join the three servers, and lose nothing."""

import io

import dotenv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.deployment import SERVERS, with_variables
from lab.network import ADDRESSES

NAMES = st.sampled_from(["A", "AB", "A_B", "B"])
VALUES = st.text("abc:/.0-", max_size=9)


def test_every_host_of_the_lab_has_a_server() -> None:
    assert list(SERVERS) == list(ADDRESSES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Heading.\nA=1\nB=2\n", "# Heading.\nA=new\nB=2\n"),
        ("#A=1\nAB=2\n", "A=new\nAB=2\n"),
        ("AB=2", "AB=2\nA=new\n"),
        ("# A= is what\n", "# A= is what\nA=new\n"),
        ("", "A=new\n"),
        ("A=", "A=new"),
    ],
)
def test_a_variable_is_set_where_it_stands(text: str, expected: str) -> None:
    assert with_variables(text, {"A": "new"}) == expected


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES), st.booleans())
def test_the_rest_stays_as_it_was(
    before: dict[str, str], values: dict[str, str], ended: bool
) -> None:
    text = "\n".join(f"# {name}\n{name}={value}" for name, value in before.items())
    after = with_variables(text + "\n" * ended, values)
    assert dict(dotenv.dotenv_values(stream=io.StringIO(after))) == {**before, **values}
    assert after.count("# ") == len(before)
