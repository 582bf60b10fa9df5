import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path.cwd()
SHOWN = ("PANTS_PYTHON_REPOS_INDEXES", "UV_DEFAULT_INDEX", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def bootstrap(home: Path, **environment: str) -> dict[str, str]:
    """What .pants.bootstrap puts into the environment, and the umask that it leaves."""
    shown = subprocess.run(
        ["bash", "-euc", "set -o pipefail; umask 077; source .pants.bootstrap; umask; env -0"],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    umask, variables = shown.split("\n", maxsplit=1)
    pairs = dict(item.split("=", maxsplit=1) for item in variables.split("\0") if item)
    return {"umask": umask} | {name: pairs[name] for name in SHOWN if name in pairs}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    configuration = tmp_path / ".config/pip/pip.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(
        "[global]\nindex-url = https://mirror.example/simple\ncert = /company.pem\n"
    )
    return tmp_path


def test_file_modes_depend_on_no_user(tmp_path: Path) -> None:
    assert bootstrap(tmp_path)["umask"] == "0022"


def test_pants_and_uv_ask_the_index_that_pip_asks(home: Path) -> None:
    assert bootstrap(home) == {
        "umask": "0022",
        "PANTS_PYTHON_REPOS_INDEXES": "['https://mirror.example/simple']",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "REQUESTS_CA_BUNDLE": "/company.pem",
        "SSL_CERT_FILE": "/company.pem",
    }


def test_the_environment_comes_before_files(home: Path) -> None:
    told = {"PIP_INDEX_URL": "https://shell.example/simple", "SSL_CERT_FILE": "/other.pem"}
    variables = bootstrap(home, **told)
    assert variables["UV_DEFAULT_INDEX"] == "https://shell.example/simple"
    assert variables["SSL_CERT_FILE"] == "/other.pem"


def test_the_file_that_the_environment_names_comes_last(home: Path) -> None:
    named = home / "pip.conf"
    named.write_text("[install]\nindex-url=https://named.example/simple\n")
    variables = bootstrap(home, PIP_CONFIG_FILE=str(named))
    assert variables["UV_DEFAULT_INDEX"] == "https://named.example/simple"


def test_the_launcher_names_the_same_commit_from_every_folder(tmp_path: Path) -> None:
    git = shutil.which("git")
    assert git, "this test needs Git: sudo apt-get install --yes git"
    repository = tmp_path / "a repository"
    package = repository / "src/python/package"
    package.mkdir(parents=True)
    shutil.copy(ROOT / ".pants.bootstrap", repository)
    (package / "module.py").touch()
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "-m", "First"]):
        subprocess.run([git, "-C", repository, *command], check=True)
    head: list[str | Path] = [git, "-C", repository, "rev-parse", "HEAD"]
    commit = subprocess.run(head, check=True, capture_output=True, text=True).stdout
    # How the official launcher comes from where it is called to Pants (scie-pants, src/main.rs).
    launch = f'set -eou pipefail; source "{repository}/.pants.bootstrap"; exec printenv "$0" "$@"'
    for folder in (repository, package):
        shown = subprocess.run(
            ["bash", "-c", launch, "TRIPOD_REVISION"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert shown == commit


def test_without_a_python_it_says_what_to_install(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "readlink", "sed"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    answer = subprocess.run(
        [ROOT / "pants", "--version"],
        env={"PATH": str(programs), "HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    assert "CPython 3.11 or 3.9, and neither is here" in answer.stderr
    assert "apt install python3 python3-venv" in answer.stderr
    assert not (tmp_path / ".cache").exists()
