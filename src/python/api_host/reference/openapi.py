"""`/openapi.json`: the reference as an OpenAPI 3.1 document, and `/docs`: the same as a page."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from inspect import getdoc
from itertools import chain, groupby
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api_host import answers, problems, questions
from api_host.auth.credentials import READING
from api_host.auth.needs import NEEDS, Open
from api_host.auth.refusals import CHALLENGE
from api_host.documents import json_response
from api_host.host import Host, catalog_of, host_of
from api_host.models.catalog import Catalog
from api_host.problems import Kind, ProblemDocument
from api_host.reference import docs_page
from api_host.reference.examples import SHIPPED, Example, example_of
from api_host.reference.operations import Content, Group, Operation, Parameter
from api_host.reference.routes import LIMITS, reference
from hostkit import release

Json: TypeAlias = dict[str, Any]

VERSION = "3.1.1"
SCHEMAS = "#/components/schemas/"
ABOUT = (
    "Predictions from the models of an MLflow registry, and trainings in Airflow. Every answer that"
    " is not a success is a problem document (RFC 9457) whose `type` tells programs what is wrong."
    " Where this host itself is wrong, that is `urn:tripod:problem:internal`, with status 500. A"
    " request may name itself in the header `X-Request-ID`, which every answer has."
)
REQUEST_ID = "X-Request-ID"
HEADERS: Mapping[str, str] = {
    REQUEST_ID: "Of the request, or made for it: the log of this host names it too.",
    "Tripod-Model": "The model and the version that has answered: `name/version`.",
    "RateLimit": "How much the caller may ask still: `r` of each limit within `t` seconds.",
    "RateLimit-Policy": "What one caller may ask: `q` of each limit within `w` seconds.",
    "Retry-After": "Seconds after which the same request may succeed.",
    CHALLENGE: "What is wrong with the key or the token, and how to show one (RFC 6750).",
    "Location": "Where to ask how the training is getting on.",
}

HEADERS_OF_FAILURES: Mapping[int, tuple[str, ...]] = {
    problems.UNAUTHENTICATED.status: (CHALLENGE,),
    problems.TOO_MANY_REQUESTS.status: ("Retry-After", *LIMITS),
    problems.NO_MODEL.status: ("Retry-After",),
}
SCHEMES: Mapping[str, Json] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of this host, or a token (JWT) of the issuer that it trusts.",
    },
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A key of this host.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "For browsers, with GET and HEAD only: the password is a key or a token, the"
        " user may be anything or nothing.",
    },
}

_ATTRIBUTE = re.compile(r"^((?:`\w+`(?:, )?)+): (.+(?:\n(?!`).+)*)", re.MULTILINE)
_NOT_A_COMPONENT = re.compile(r"[^A-Za-z0-9._-]")


async def get_openapi(request: Request) -> Response:
    """`GET /openapi.json`."""
    return json_response(document_of(host_of(request), catalog_of(request)))


async def get_docs(request: Request) -> Response:
    """`GET /docs`."""
    host = host_of(request)
    base = host.settings.api_public_url or str(request.base_url)
    text = docs_page.render(document_of(host, catalog_of(request)), base.rstrip("/"))
    return HTMLResponse(text, headers=docs_page.HEADERS)


def document_of(host: Host, catalog: Catalog) -> Json:
    """The document of a host, with examples and rows of the models of that catalog."""
    settings = host.settings
    example = example_of(catalog, settings.model_name)
    document = make_document(example, settings.api_public_url or "/", auth=settings.auth)
    document["components"]["schemas"] |= dict(_rows(catalog))
    return document


def make_document(example: Example = SHIPPED, url: str = "/", *, auth: bool = True) -> Json:
    """The document of a host with this URL, with examples for this model.

    `auth`: whether callers must show a key or a token there.
    """
    groups = reference(example)
    operations = [(group, each) for group in groups for each in group.operations]
    return {
        "openapi": VERSION,
        "info": {"title": "Tripod API", "version": release.VERSION, "description": ABOUT},
        "servers": [{"url": url}],
        "tags": [{"name": group.name, "description": group.about} for group in groups],
        "paths": {
            operation.path: {operation.method.lower(): _operation(operation, group, auth)}
            for group, operation in operations
        },
        "components": {
            "securitySchemes": SCHEMES if auth else {},
            "schemas": dict(_components()),
            "parameters": {REQUEST_ID: _request_id()},
            "headers": {
                name: {
                    "description": about,
                    "required": name not in LIMITS,
                    "schema": {"type": "string"},
                }
                for name, about in HEADERS.items()
            },
        },
    }


def _operation(operation: Operation, group: Group, auth: bool) -> Json:
    parameters = [_parameter(parameter) for parameter in operation.parameters]
    found: Json = {
        "operationId": operation.id,
        "tags": [group.name],
        "summary": operation.summary,
        "parameters": [*parameters, {"$ref": f"#/components/parameters/{REQUEST_ID}"}],
        "responses": {
            str(operation.status): _success(operation),
            **{
                str(status): _failure(operation.path, status, kinds)
                for status, kinds in _by_status(operation)
            },
        },
    }
    if auth:
        found["security"] = _security(operation)
    if operation.about:
        found["description"] = operation.about
    if operation.takes:
        found["requestBody"] = {
            "required": operation.needs_body,
            "content": _contents(operation.takes),
        }
    return found


def _security(operation: Operation) -> list[Json]:
    names = [name for name in SCHEMES if name != "basic" or operation.method in READING]
    shown: list[Json] = [{name: []} for name in names]
    return [{}, *shown] if NEEDS[operation.path] is Open.TO_ALL else shown


def _parameter(parameter: Parameter) -> Json:
    found = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "required": parameter.place == "path",
        "schema": parameter.schema,
    }
    return found if parameter.example is None else {**found, "example": parameter.example}


def _request_id() -> Json:
    about = "Your name for the request: printable ASCII, at most 128 characters."
    return _parameter(Parameter(REQUEST_ID, "header", about, {"type": "string"}))


def _success(operation: Operation) -> Json:
    found: Json = {"description": "As asked.", "headers": _headers(operation.headers)}
    return {**found, "content": _contents(operation.gives)} if operation.gives else found


def _by_status(operation: Operation) -> Iterator[tuple[int, list[Kind]]]:
    kinds = sorted(operation.problems, key=lambda kind: kind.status)
    for status, same in groupby(kinds, key=lambda kind: kind.status):
        yield status, list(same)


def _failure(path: str, status: int, kinds: Iterable[Kind]) -> Json:
    types = [kind.type for kind in kinds]
    headers = HEADERS_OF_FAILURES.get(status, ())
    schema = {**_schema(ProblemDocument), "properties": {"type": {"enum": types}}}
    return {
        "description": ". ".join(f"{kind.title}" for kind in kinds) + ".",
        "headers": _headers(headers),
        "content": {problems.media_type(path): {"schema": schema}},
    }


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (REQUEST_ID, *names)}


def _contents(contents: Iterable[Content]) -> Json:
    return {content.media_type: dict(_content(content)) for content in contents}


def _content(content: Content) -> Iterator[tuple[str, Any]]:
    schemas = [_schema(type_) for type_ in content.types]
    if schemas:
        yield "schema", schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    elif content.media_type.startswith("text/"):
        yield "schema", {"type": "string"}
    if content.example is not None:
        yield "example", msgspec.to_builtins(content.example)


@cache
def _schemas() -> tuple[dict[type, Json], Json]:
    """The schema of each type, and what these refer to."""
    contents = chain.from_iterable(
        (*operation.takes, *operation.gives)
        for group in reference(SHIPPED)
        for operation in group.operations
    )
    types = {type_: None for content in contents for type_ in content.types}
    every = [*types, ProblemDocument]
    schemas, components = msgspec.json.schema_components(every, ref_template=f"{SCHEMAS}{{name}}")
    return dict(zip(every, schemas, strict=True)), components


def _schema(type_: type) -> Json:
    return _schemas()[0][type_]


@cache
def _components() -> tuple[tuple[str, Json], ...]:
    classes = {**vars(answers), **vars(questions), **vars(problems)}
    return tuple((name, _described(s, classes[name])) for name, s in _schemas()[1].items())


def _described(schema: Json, class_: type) -> Json:
    """A schema with the words of the class's docstring: a sentence, then its attributes."""
    properties = {name: dict(each) for name, each in schema["properties"].items()}
    for base in reversed(class_.__mro__):
        for names, words in _ATTRIBUTE.findall(getdoc(base) or ""):
            for name in re.findall(r"\w+", names):
                if name in properties:
                    properties[name]["description"] = _sentence(words)
    words, _, _ = (getdoc(class_) or "").partition("\n\n")
    return {**schema, "description": _sentence(words), "properties": properties}


def _sentence(words: str) -> str:
    text = " ".join(words.split())
    return text[:1].upper() + text[1:]


def _rows(catalog: Catalog) -> Iterator[tuple[str, Json]]:
    for name, served in sorted(catalog.served.items()):
        signature = served.model.signature
        if signature is None or not signature.named:
            continue
        columns = signature.columns
        yield (
            f"{_NOT_A_COMPONENT.sub('_', name)}.row",
            {
                "title": f"A row of {name}",
                "description": f"What version {served.version.version} predicts from.",
                "type": "object",
                "properties": {str(column.name): KINDS[column.kind.name] for column in columns},
                "required": [str(column.name) for column in columns if column.required],
                "additionalProperties": False,
            },
        )


KINDS: Mapping[str, Json] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": ["number", "null"], "format": "float"},
    "double": {"type": ["number", "null"], "format": "double"},
    "string": {"type": ["string", "null"]},
    "binary": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": ["string", "null"], "format": "date-time"},
}
"""The types of a signature as JSON Schema."""
