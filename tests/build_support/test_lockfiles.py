import pytest

from lockfiles import find_addresses, read_resolves

LOCKFILE = """\
# What pip would call https://example.com is a comment.
click==8.5.1 \\
    --hash=sha256:0123456789abcdef \\
    --hash=sha256:fedcba9876543210
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:0123456789abcdef
"""


def test_a_resolve_is_locked_with_what_hostkit_imports() -> None:
    (api,) = read_resolves('[python.resolves]\napi = "3rdparty/api/lock.txt"')
    assert api.name == "api"
    assert [str(path) for path in api.requirements] == [
        "3rdparty/hostkit/requirements.txt",
        "3rdparty/api/requirements.txt",
    ]
    assert str(api.lockfile) == "3rdparty/api/lock.txt"


def test_tools_are_locked_by_themselves() -> None:
    (tools,) = read_resolves('[python.resolves]\ntools = "3rdparty/tools/lock.txt"')
    assert [str(path) for path in tools.requirements] == ["3rdparty/tools/requirements.txt"]


def test_versions_and_hashes_are_no_addresses() -> None:
    assert find_addresses(LOCKFILE) == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://mirror.example/simple",
        "-i https://mirror.example/simple",
        "--find-links /srv/wheels",
        "-e ./somewhere",
        "click @ https://mirror.example/click.tar.gz",
        "click @ file:///srv/wheels/click.tar.gz",
        "click==8.5.1 --find-links /srv/wheels",
        "git+ssh://git@example.com/click",
    ],
)
def test_addresses_are_found(line: str) -> None:
    assert find_addresses(f"{LOCKFILE}{line}\n") == [line]
