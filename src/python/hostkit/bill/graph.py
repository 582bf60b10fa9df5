"""What needs what, of the distributions in a PEX file."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from hostkit.bill.contents import Distribution

SAME_EVERYWHERE = {
    "platform_release": "",
    "platform_version": "",
    "python_full_version": "3.11.0",
    "implementation_version": "3.11.0",
}
"""What must not matter to a bill: it is the same wherever the PEX file is asked for it."""


@dataclass(frozen=True)
class Graph:
    """Names of distributions, all of which are in the PEX file.

    `roots`: what our own modules want.
    `edges`: what each distribution wants, with the extras that anybody asked for.
    """

    roots: frozenset[NormalizedName]
    edges: Mapping[NormalizedName, frozenset[NormalizedName]]


def graph(requirements: Iterable[Requirement], distributions: Iterable[Distribution]) -> Graph:
    """Follows the requirements from distribution to distribution."""
    found = {distribution.key: distribution for distribution in distributions}
    edges: dict[NormalizedName, set[NormalizedName]] = {name: set() for name in found}
    wanted = list(_wanted(requirements, ""))
    roots = {name for name, _ in wanted if name in found}
    seen: set[tuple[NormalizedName, str]] = set()
    while wanted:
        name, extra = wanted.pop()
        if name not in found or (name, extra) in seen:
            continue
        seen.add((name, extra))
        following = list(_wanted(found[name].requires, extra))
        edges[name] |= {other for other, _ in following if other in found} - {name}
        wanted += following
    return Graph(frozenset(roots), {name: frozenset(others) for name, others in edges.items()})


def _wanted(
    requirements: Iterable[Requirement], extra: str
) -> Iterator[tuple[NormalizedName, str]]:
    """The distributions that are asked for where `extra` is, each with each of its extras."""
    for requirement in requirements:
        marker = requirement.marker
        if marker is None or marker.evaluate({**SAME_EVERYWHERE, "extra": extra}):
            name = canonicalize_name(requirement.name)
            yield name, ""
            for further in requirement.extras:
                yield name, further
