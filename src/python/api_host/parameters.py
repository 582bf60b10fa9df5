"""`params` of MLflow's scoring protocol: held against a model's signature, as MLflow does it.

No model of scikit-learn's is given them: what is wrong is refused, and what is right changes
nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from api_host.enforcement import invalid
from api_host.kinds import described

_log = structlog.get_logger("api_host.parameters")


@dataclass(frozen=True)
class Parameter:
    """A parameter that a signature names.

    `expected`: what a value must be, for a person.
    `is_right`: whether a value is; it may raise, which is a no.
    `is_list`: whether there are several values.
    """

    name: str
    expected: str
    is_right: Callable[[Any], bool]
    is_list: bool


@dataclass(frozen=True)
class Parameters:
    """What a model's signature says of `params`.

    `known`: those that it names; None if it says nothing, and then anything is ignored.
    """

    known: tuple[Parameter, ...] | None

    def check(self, given: Any) -> None:
        """Raises `Problem` if one is not right. Those that nobody knows are ignored and logged."""
        if given is None:
            return
        if self.known is None:
            _note_ignored(given)
            return
        if not isinstance(given, Mapping):
            raise _refused(f"/params must be an object, and is {described(given)}")
        _note_ignored({name: given[name] for name in given.keys() - {p.name for p in self.known}})
        wrong = [
            detail
            for parameter in self.known
            if parameter.name in given
            for detail in _mistakes(parameter, given[parameter.name])
        ]
        if wrong:
            raise _refused("; ".join(wrong))


UNKNOWN = Parameters(None)
"""Of a model whose signature says nothing of `params`."""


def compile_parameters(params: str | None) -> Parameters:
    """The checker for a signature's params, which MLflow keeps as JSON in the MLmodel file."""
    if params is None:
        return UNKNOWN
    return Parameters(tuple(_compile(spec) for spec in json.loads(params)))


def _compile(spec: Mapping[str, Any]) -> Parameter:
    kind = spec.get("type") or spec.get("dtype")
    expected, is_right = _KINDS.get(str(kind), ("of its type", _is_anything))
    return Parameter(spec["name"], expected, is_right, spec.get("shape") is not None)


def _refused(detail: str) -> Exception:
    return invalid(detail, "INVALID_PARAMETER_VALUE")


def _note_ignored(given: Any) -> None:
    if given:
        names = sorted(given)[:_MOST_NAMES] if isinstance(given, Mapping) else described(given)
        _log.warning("params of no use to the model are ignored", params=names)


def _mistakes(parameter: Parameter, value: Any) -> Sequence[str]:
    place = f"/params/{parameter.name}"
    if not parameter.is_list:
        values = [value]
    elif isinstance(value, list) and _dimensions(value, place) == 1:
        values = value
    else:
        return [f"{place} must be an array of values, each {parameter.expected}"]
    return [
        f"{place} must be {parameter.expected}, and is {described(each)}"
        for each in values
        if not (each is None or _agrees(parameter, each))
    ][:1]


def _dimensions(values: Sequence[Any], place: str) -> int:
    try:
        return np.ndim(values)
    except ValueError:
        raise invalid(f"{place} must be an array of values, and not of arrays") from None


def _agrees(parameter: Parameter, value: Any) -> bool:
    try:
        return parameter.is_right(value)
    except (ValueError, OverflowError):
        return False


def _is_anything(_: Any) -> bool:
    return True


def _is_exactly(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


def _is_number(value: Any) -> bool:
    if type(value) is int:
        float(value)  # One that is too large raises.
        return True
    return type(value) is float


def _is_moment(value: Any) -> bool:
    # Finer than microseconds it is a number to Python, which MLflow does not take.
    return isinstance(value, str) and not isinstance(np.datetime64(value).item(), int)


_MOST_NAMES = 10
_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "boolean": ("true or false", _is_exactly(bool)),
    "integer": ("a whole number", _is_exactly(int)),
    "long": ("a whole number", _is_exactly(int)),
    "float": ("a number", _is_number),
    "double": ("a number", _is_number),
    "string": ("a string", _is_exactly(str)),
    "datetime": ("an ISO 8601 moment without a zone", _is_moment),
}
"""What is right by MLflow's name of the type; objects are not looked into."""
