import pytest

from lockfiles import find_addresses, make_uv_environment, read_pip_settings, read_resolves

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
        "--find-links /opt/wheels",
        "-e ./somewhere",
        "click @ https://mirror.example/click-8.5.1-py3-none-any.whl",
        "click @ file:///opt/wheels/click-8.5.1-py3-none-any.whl",
        "click==8.5.1 --find-links /opt/wheels",
        "git+ssh://git@example.com/click",
    ],
)
def test_addresses_are_found(line: str) -> None:
    assert find_addresses(f"{LOCKFILE}{line}\n") == [line]


def test_the_last_of_pips_settings_wins() -> None:
    system = "[global]\nindex-url = https://system.example/simple\ncert = /system.pem"
    user = "[install]\nindex-url = https://user.example/%40simple"
    assert read_pip_settings({}, [system, user]) == {
        "index-url": "https://user.example/%40simple",
        "cert": "/system.pem",
    }
    environment = {"PIP_INDEX_URL": "https://shell.example/simple", "PIP_CERT": ""}
    assert read_pip_settings(environment, [system, user]) == {
        "index-url": "https://shell.example/simple",
        "cert": "/system.pem",
    }


def test_uv_asks_the_index_that_pip_asks() -> None:
    pip = {"index-url": "https://mirror.example/simple", "cert": "/company.pem"}
    assert make_uv_environment({"PATH": "/bin"}, pip) == {
        "PATH": "/bin",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "SSL_CERT_FILE": "/company.pem",
    }


def test_what_uv_was_told_itself_comes_first() -> None:
    pip = {"index-url": "https://mirror.example/simple", "cert": "/company.pem"}
    told = {"UV_INDEX_URL": "https://other.example/simple", "SSL_CERT_FILE": "/other.pem"}
    assert make_uv_environment(told, pip) == told
