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


def documented_differences() -> list[str]:
    """What docs/api.md says that MLflow's scoring server answers differently."""
    _, _, rest = Path("docs/api.md").read_text().partition("| request | MLflow | this host |")
    table, _, _ = rest.partition("\n\n")
    return re.findall(r"^\| (.*?) \| [^|]* \| [^|]* \|", table, re.MULTILINE)


def documented_walks(host_name: str) -> dict[str, list[str]]:
    """The walks of a host's doctor in docs/doctor.md, with their steps."""
    _, _, rest = Path("docs/doctor.md").read_text().partition(f"### {host_name}\n")
    section, _, _ = rest.partition("\n#")
    rows = re.findall(r"^\| `([a-z]+)` \| (.*) \|$", section, re.MULTILINE)
    return {walk: re.findall("`([a-z]+)`", steps) for walk, steps in rows}


def documented_steps() -> list[str]:
    """The steps that docs/doctor.md explains."""
    _, _, rest = Path("docs/doctor.md").read_text().partition("## Steps\n")
    section, _, _ = rest.partition("\n## ")
    return re.findall(r"^\| `([a-z]+)` \|", section, re.MULTILINE)


def documented_metrics(host_name: str) -> set[str]:
    """The metrics of a host's section of docs/metrics.md."""
    page = Path("docs/metrics.md").read_text()
    _, _, rest = page.partition(f"## {host_name}\n")
    section, _, _ = rest.partition("\n## ")
    return set(re.findall(r"^\| `([a-z0-9_]+)` \|", section, re.MULTILINE))


def documented_process_metrics() -> set[str]:
    """The metrics of every process of ours that has a page."""
    _, _, rest = Path("docs/metrics.md").read_text().partition("## Of the process\n")
    section, _, _ = rest.partition("\n## ")
    return set(re.findall(r"`([a-z0-9_]+)`", section))


def shown_metrics(page: str) -> set[str]:
    """The metrics on a page for Prometheus, by the names that they are documented under."""
    names = re.findall(r"^# TYPE (\S+) \w+$", page, re.MULTILINE)
    return {name.removesuffix("_total") for name in names}
