"""The page that a person sees at `/`: the same that the JSON says, with nothing from elsewhere."""

from collections.abc import Iterable
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 46rem; padding: 0 1rem }
h1 span { font-weight: normal }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #8884; padding: .3rem .6rem .3rem 0; text-align: left }
.ok { color: #188038 } .degraded { color: #b06000 } .waiting { color: #c5221f }
:root { color-scheme: light dark }
"""


def render(document: dict[str, Any]) -> str:
    """The page for a document of `health.describe`."""
    status = document["status"]
    rows_of_models = (
        (model["name"], model["version"] or "none", model["problem"] or "serves")
        for model in document["models"]
    )
    rows_of_links = (
        (name, link["url"], link["detail"]) for name, link in document["links"].items()
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(document["host"])}: {escape(status)}</title>
<style>{STYLE}</style>
<h1>{escape(document["host"])} <span class="{escape(status)}">{escape(status)}</span></h1>
<p>{escape(document["detail"] or "")}</p>
{_table(("model", "version", ""), rows_of_models)}
{_table(("link", "URL", ""), rows_of_links)}
<p>Version {escape(document["version"])}. <a href="/v1/models">Models</a>,
<a href="/metrics">metrics</a>.</p>
</html>
"""


def _table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}</table>"
