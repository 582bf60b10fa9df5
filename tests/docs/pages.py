"""What the pages below docs/ say there is."""

import re
from pathlib import Path


def documented_settings(host_name: str) -> list[str]:
    """The variables of a host's section of docs/settings.md, in their order."""
    page = Path("docs/settings.md").read_text()
    _, _, rest = page.partition(f"## {host_name}\n")
    section, _, _ = rest.partition("\n## ")
    return re.findall(r"^\| `([A-Z0-9_]+)` \|", section, re.MULTILINE)


def documented_problems() -> set[str]:
    """The problem types of docs/api.md."""
    return set(
        re.findall(r"^\| `(urn:[a-z:-]+)` \|", Path("docs/api.md").read_text(), re.MULTILINE)
    )


def documented_paths() -> set[str]:
    """The paths of the first table of docs/api.md, without their methods."""
    table, _, _ = Path("docs/api.md").read_text().partition("## ")
    return set(re.findall(r"`(?:GET|POST) (/[^`]*)`", table))
