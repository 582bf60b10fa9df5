"""The page at `/docs`: the API's document for a person, with nothing from elsewhere."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from api_host import page

Json: TypeAlias = Mapping[str, Any]

STYLE = page.STYLE + """
h2 { border-bottom: 1px solid #8884; margin-top: 3rem }
h3 { font-size: 1.05rem; margin: 2.5rem 0 .5rem }
h4 { margin: 1rem 0 .3rem }
code, pre { font: .9em/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: #8882; border-radius: .4rem; margin: .5rem 0; overflow-x: auto; padding: .7rem }
pre code { overflow-wrap: normal }
dl { margin: .3rem 0 } dt { margin-top: .4rem } dd { margin: 0 0 0 1rem } p { margin: .5rem 0 }
ul { margin: .3rem 0; padding-left: 1.2rem }
.get { color: #188038 } .post { color: #b06000 } small { opacity: .75 }
@media (prefers-color-scheme: dark) {
  a { color: #8ab4f8 } .get { color: #81c995 } .post { color: #fdd663 }
}
"""


KEY = "$API_KEY"
"""Stands for the key in the commands."""

FIELD = f"""<p><label>Key: <input id="key" type="password" size="40" autocomplete="off"
spellcheck="false"></label> The commands below have it then, in place of <code>{KEY}</code>, and
nothing else does: it leaves this page with what you copy only.</p>"""

SCRIPT = f"""
const commands = [...document.querySelectorAll("pre code")].map(code => [code, code.textContent]);
document.getElementById("key").addEventListener("input", event => {{
  const key = event.target.value.trim().replace(/[^A-Za-z0-9._-]/g, "") || "{KEY}";
  for (const [code, text] of commands) code.textContent = text.replaceAll("{KEY}", key);
}});
"""

HEADERS = page.headers(STYLE, SCRIPT)
"""Of the page: nothing in it runs but what is above."""


def render(document: Json, base: str) -> str:
    """The page for an OpenAPI document of ours.

    `base`: the URL that the examples ask, without a slash at its end.
    """
    info, tags = document["info"], document["tags"]
    auth = bool(document["components"]["securitySchemes"])
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(info["title"])}</title>
<style>{STYLE}</style>
<h1>{escape(info["title"])} <span>{escape(info["version"])}</span></h1>
<p>{_words(info["description"])}</p>
<p>For programs, the same is at <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).
<a href="/">How this host is</a>.</p>
{FIELD if auth else ""}
{"".join(_contents(document, tag["name"]) for tag in tags)}
{"".join(_group(document, tag, base) for tag in tags)}
<h2 id="types">Types</h2>
{"".join(_component(name, schema) for name, schema in document["components"]["schemas"].items())}
{f"<script>{SCRIPT}</script>" if auth else ""}
</html>
"""


def _operations(document: Json, tag: str) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method, path, operation


def _contents(document: Json, tag: str) -> str:
    items = (
        f'<li><a href="#{operation["operationId"]}">{_route(method, path)}</a>'
        f" {_words(operation['summary'])}</li>\n"
        for method, path, operation in _operations(document, tag)
    )
    return f"<h4>{escape(tag)}</h4>\n<ul>{''.join(items)}</ul>\n"


def _group(document: Json, tag: Json, base: str) -> str:
    operations = (
        _operation(document, base, method, path, operation)
        for method, path, operation in _operations(document, tag["name"])
    )
    heading = f"<h2>{escape(tag['name'])}</h2>\n<p>{_words(tag['description'])}</p>\n"
    return heading + "".join(operations)


def _route(method: str, path: str) -> str:
    return f'<code><b class="{method}">{method.upper()}</b> {escape(path)}</code>'


def _operation(document: Json, base: str, method: str, path: str, operation: Json) -> str:
    # What all operations take is said once, above.
    parameters = [parameter for parameter in operation["parameters"] if "$ref" not in parameter]
    bodies = operation.get("requestBody", {}).get("content", {})
    return "\n".join(
        (
            f'<h3 id="{operation["operationId"]}">{_route(method, path)}</h3>',
            f"<p>{_words(operation['summary'])}. {_words(operation.get('description', ''))}</p>",
            *(
                f"<pre><code>{escape(command)}</code></pre>"
                for command in _commands(
                    method,
                    base + path,
                    parameters,
                    bodies,
                    auth={} not in operation.get("security", [{}]),
                )
            ),
            _list("Parameters", map(_parameter, parameters)),
            _list("Body", _forms(bodies)),
            _list("Answers", _answers(document, operation["responses"])),
        )
    )


def _commands(
    method: str, url: str, parameters: Iterable[Json], bodies: Json, *, auth: bool
) -> Iterator[str]:
    """What to type into a shell: one command for each form of the body that has an example."""
    for parameter in parameters:
        example = parameter.get("example", parameter["name"].upper())
        url = url.replace(f"{{{parameter['name']}}}", quote(example, safe=""))
    curl = f"curl --fail-with-body {shlex.quote(url)}"
    next_line = " \\\n  "  # A phone shows the start of a line only.
    if auth:
        curl += f'{next_line}--header "Authorization: Bearer {KEY}"'
    examples = {form: body["example"] for form, body in bodies.items() if "example" in body}
    for form, example in examples.items():
        if form == "application/json":
            yield f"{curl}{next_line}--json {shlex.quote(msgspec.json.encode(example).decode())}"
        else:
            header = f"--header {shlex.quote(f'Content-Type: {form}')}"
            yield f"{curl}{next_line}{header}{next_line}--data-binary {shlex.quote(example)}"
    if not examples:
        yield curl if method == "get" else f"{curl} --request {method.upper()}"


def _parameter(parameter: Json) -> tuple[str, str]:
    what = f"{parameter['in']}, {_type(parameter['schema'])}"
    return f"{_code(parameter['name'])} <small>{what}</small>", _words(parameter["description"])


def _forms(bodies: Json) -> Iterator[tuple[str, str]]:
    for form, body in bodies.items():
        yield _code(form), _type(body["schema"]) if "schema" in body else ""


def _answers(document: Json, responses: Json) -> Iterator[tuple[str, str]]:
    for status, response in responses.items():
        forms = response.get("content", {})
        if status.startswith(("4", "5")):
            (problem,) = forms.values()
            yield f"<b>{status}</b>", _problems(problem["schema"], response["description"])
            continue
        headers = document["components"]["headers"]
        lines = [f"{form} {type_}" for form, type_ in _forms(forms)] or ["no body"]
        lines += [
            f"{_code(name)} {_words(headers[name]['description'])}"
            for name in response["headers"]
            if name != "X-Request-ID"
        ]
        yield f"<b>{status}</b>", "<br>".join(lines)


def _problems(schema: Json, words: str) -> str:
    types = schema["properties"]["type"]["enum"]
    return f"{_words(words)} <small>{'<br>'.join(_code(each) for each in types)}</small>"


def _component(name: str, schema: Json) -> str:
    required = schema.get("required", ())
    properties = (
        (
            f"{_code(key)} <small>{_type(each)}{'' if key in required else ', optional'}</small>",
            _words(each.get("description", "")),
        )
        for key, each in schema.get("properties", {}).items()
    )
    return (
        f'<h3 id="type-{escape(name)}">{_code(name)}</h3>\n'
        f"<p>{_words(schema.get('description', ''))}</p>\n{_list('', properties)}"
    )


def _type(schema: Json) -> str:
    """A schema in a few words."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f'<a href="#type-{escape(name)}">{_code(name)}</a>'
    if choices := schema.get("oneOf", schema.get("anyOf")):
        return " or ".join(_type(choice) for choice in choices)
    if values := schema.get("enum"):
        return " or ".join(_code(str(value)) for value in values)
    kinds = schema.get("type", "anything")
    match kinds:
        case "array" if "items" in schema:
            return f"array of {_type(schema['items'])}"
        case "object" if schema.get("additionalProperties"):
            return f"object of {_type(schema['additionalProperties'])}"
    words = kinds if isinstance(kinds, str) else " or ".join(kinds)
    return f"{words} ({schema['format']})" if "format" in schema else words


def _list(heading: str, items: Iterable[tuple[str, str]]) -> str:
    lines = "\n".join(f"<dt>{term}</dt><dd>{words}</dd>" for term, words in items)
    title = f"<h4>{heading}</h4>\n" if heading else ""
    return f"{title}<dl>\n{lines}\n</dl>\n" if lines else ""


def _words(text: str) -> str:
    """A sentence, with code where it has backticks."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
