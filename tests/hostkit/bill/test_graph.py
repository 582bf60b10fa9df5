from pathlib import Path

from packaging.utils import canonicalize_name

from hostkit.bill.contents import read
from hostkit.bill.graph import Graph, graph
from tests.hostkit.bill.packed import pack

TEA = canonicalize_name("tea")


def graph_of(path: Path, *requirements: str, **packages: str) -> Graph:
    pex = pack(
        path / "x.pex",
        *requirements,
        packages={f"{name}-1": lines for name, lines in packages.items()},
    )
    contents = read(pex)
    return graph(contents.requirements, contents.distributions)


def test_what_is_wanted_is_followed_by_any_spelling_of_its_name(tmp_path: Path) -> None:
    found = graph_of(tmp_path, "Tea_Pot==1", tea_pot="Requires-Dist: Kettle>=1", kettle="")
    assert found.roots == {"tea-pot"}
    assert found.edges == {"tea-pot": {"kettle"}, "kettle": set()}


def test_an_extra_counts_where_somebody_asked_for_it(tmp_path: Path) -> None:
    lines = "Requires-Dist: milk; extra == 'white'\nProvides-Extra: white"
    without = graph_of(tmp_path, "tea", "milk", tea=lines, milk="")
    assert without.edges[TEA] == set()
    asked = graph_of(tmp_path, "tea[white]", "milk", tea=lines, milk="")
    assert asked.edges[TEA] == {"milk"}
    by_another = graph_of(
        tmp_path, "tea", "cup", tea=lines, milk="", cup="Requires-Dist: tea[white]"
    )
    assert by_another.edges[TEA] == {"milk"}


def test_extras_that_name_each_other_come_to_an_end(tmp_path: Path) -> None:
    lines = "Requires-Dist: tea[b]; extra == 'a'\nRequires-Dist: tea[a]; extra == 'b'"
    assert graph_of(tmp_path, "tea[a]", tea=lines).edges == {"tea": set()}


def test_what_is_for_another_machine_or_not_packed_is_not_needed(tmp_path: Path) -> None:
    lines = (
        "Requires-Dist: milk; sys_platform == 'win32'\n"
        "Requires-Dist: sugar; python_version < '3.11'\n"
        "Requires-Dist: lemon"
    )
    found = graph_of(tmp_path, "tea", tea=lines, milk="", sugar="")
    assert found.edges[TEA] == set()
