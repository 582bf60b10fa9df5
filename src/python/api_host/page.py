"""The page that a person sees at `/`: the same that the JSON says, with nothing from elsewhere."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from html import escape

from api_host.answers import HostHealth, HostState

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 46rem; padding: 0 1rem }
h1 span { font-weight: normal }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #8884; padding: .3rem .6rem .3rem 0; text-align: left }
.ok { color: #188038 } .degraded { color: #b06000 } .waiting { color: #c5221f }
:root { color-scheme: light dark }
"""

LOG_IN = """<p>With a key for operators it says more. <a href="/docs">The page of the API</a> asks a
browser for one, as the password of any user.</p>"""


def headers(style: str, script: str | None = None) -> Mapping[str, str]:
    """Headers of a page that has this style and script, and lets a browser take no others."""
    script_source = _source(script) if script else "'none'"
    policy = (
        f"default-src 'none'; style-src {_source(style)}; script-src {script_source};"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _source(text: str) -> str:
    """How a policy names what stands in the page itself."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def render(state: HostState | HostHealth) -> str:
    """The page that says how this host is."""
    if isinstance(state, HostHealth):
        return _page(state, LOG_IN)
    rows_of_models = (
        (model.name, model.version or "none", model.problem or "serves") for model in state.models
    )
    rows_of_links = ((name, link.url, link.detail) for name, link in state.links.items())
    problems = "".join(f"<p>{escape(problem)}</p>" for problem in state.auth_problems)
    return _page(
        state,
        f"""<p>{escape(state.detail or "")}</p>{problems}
{_table(("model", "version", ""), rows_of_models)}
{_table(("link", "URL", ""), rows_of_links)}
<p>Version {escape(state.version)}. <a href="/docs">How to use it</a>,
<a href="/v1/models">models</a>, <a href="/metrics">metrics</a>.</p>""",
    )


def _page(state: HostState | HostHealth, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(state.host)}: {escape(state.status)}</title>
<style>{STYLE}</style>
<h1>{escape(state.host)} <span class="{escape(state.status)}">{escape(state.status)}</span></h1>
{body}
</html>
"""


def _table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}</table>"
