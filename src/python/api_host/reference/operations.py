"""What the API's document says of a route: what it takes, what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from api_host.problems import Kind

Schema: TypeAlias = Mapping[str, Any]

JSON = "application/json"


@dataclass(frozen=True)
class Parameter:
    """A part of a path or a query, or a header of a request.

    `schema`: what it may be, as JSON Schema.
    `example`: None if it is better left out.
    """

    name: str
    place: Literal["path", "query", "header"]
    about: str
    schema: Schema
    example: str | None = None


@dataclass(frozen=True)
class Content:
    """A form that a body has.

    `types`: one of which it is; none if it is not JSON.
    `example`: None if there is none.
    """

    media_type: str
    types: tuple[type, ...] = ()
    example: object = None


@dataclass(frozen=True)
class Operation:
    """A path and a method.

    `id`: by which programs that are made from the document call it.
    `about`: what there is to say beyond the summary.
    `takes`: the forms that its body may have; none if it takes none.
    `needs_body`: whether it must have one.
    `gives`: the forms of an answer that is a success, which has this `status` and these `headers`.
    `problems`: the kinds of the other answers.
    """

    method: Literal["GET", "POST"]
    path: str
    id: str
    summary: str
    about: str = ""
    parameters: tuple[Parameter, ...] = ()
    takes: tuple[Content, ...] = ()
    needs_body: bool = True
    gives: tuple[Content, ...] = ()
    status: int = 200
    headers: tuple[str, ...] = ()
    problems: tuple[Kind, ...] = ()


@dataclass(frozen=True)
class Group:
    """Operations that belong together."""

    name: str
    about: str
    operations: tuple[Operation, ...]


def json(*types: type, example: object = None) -> Content:
    """JSON of one of these types."""
    return Content(JSON, types, example)
