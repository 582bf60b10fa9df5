from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit.errors import SettingsError
from hostkit.sources import Source, read_credentials, read_env_file


@dataclass(frozen=True)
class Block:
    """Some lines of an env file, and the one value that they hold."""

    text: str
    value: str | None = None


PLAIN = st.text("abcXYZ019_-./:=@%+,$()[]{}!&*?~^|<>;#\\", min_size=1).filter(
    lambda text: not text.startswith("#")
)
ANYTHING = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)
BLOCKS = st.one_of(
    st.just(Block("\n")),
    st.just(Block("  \t\n")),
    st.text("abc ='\"#", max_size=9).map(lambda text: Block(f"# {text}\n")),
    PLAIN.map(lambda value: Block(f"{value}\n", value)),
    PLAIN.map(lambda value: Block(f"  {value}   # why\n", value)),
    ANYTHING.map(lambda value: Block(f"{single_quoted(value)}\n", value)),
    ANYTHING.map(lambda value: Block(f"{double_quoted(value)} # why\n", value)),
)


def single_quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def double_quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources") / "env"


def read(path: Path, text: str) -> Source:
    path.write_bytes(text.encode())
    return read_env_file(path, required=True)


@given(blocks=st.lists(BLOCKS))
def test_each_value_is_found_with_its_line(path: Path, blocks: list[Block]) -> None:
    text, expected = "", {}
    for number, block in enumerate(blocks):
        line = text.count("\n") + 1
        if block.value is None:
            text += block.text
        else:
            text += f"NAME_{number}={block.text}"
            expected[f"NAME_{number}"] = (block.value, line)
    source = read(path, text)
    found = {name: (value.text, value.origin.line) for name, value in source.values.items()}
    assert found == expected
    assert source.problems == source.warnings == ()


@given(st.text(st.characters(codec="utf-8")))
def test_no_text_makes_it_fail(path: Path, text: str) -> None:
    source = read(path, text)
    assert all(value.text for value in source.values.values())
    assert all(sentence.startswith(f"{path} line ") for sentence in source.problems)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("TEA=green\n\n\nno assignment\n", 4),
        ("TEA=green\nCUP\n", 2),
        ('TEA="several\nlines"\nCUP="not closed\n', 3),
        ("TEA=1 CUP='a'\nBIG CUP=1\n", 2),
        ("ZERO=a\0b\n", 1),
    ],
)
def test_what_is_no_assignment_is_named_by_its_line(path: Path, text: str, line: int) -> None:
    (problem,) = read(path, text).problems
    assert problem.startswith(f"{path} line {line} is not ")


def test_other_systems_and_shells_write_it_too(path: Path) -> None:
    source = read(path, "\ufeffTEA=green\r\nexport CUP=big\r\n")
    assert {name: value.text for name, value in source.values.items()} == {
        "TEA": "green",
        "CUP": "big",
    }


def test_a_file_that_may_be_absent(tmp_path: Path) -> None:
    assert read_env_file(tmp_path / "none", required=False) == Source({})
    with pytest.raises(SettingsError, match=r"none does not exist: create it, or name another"):
        read_env_file(tmp_path / "none", required=True)


def test_what_is_no_readable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\)"):
        read_env_file(tmp_path, required=True)
    (tmp_path / "env").write_bytes(b"TEA=gr\xfcn\n")
    with pytest.raises(SettingsError, match=r"is not UTF-8 text \(byte 6\): save it as UTF-8"):
        read_env_file(tmp_path / "env", required=True)


def test_credentials_are_files_with_the_names_of_variables(tmp_path: Path) -> None:
    (tmp_path / "PASSWORD").write_text("two words\n")
    (tmp_path / "tls.key").write_bytes(b"\xff")
    (tmp_path / "EMPTY").write_text("\n")
    source = read_credentials(tmp_path)
    assert {name: value.text for name, value in source.values.items()} == {"PASSWORD": "two words"}
    assert str(source.values["PASSWORD"].origin) == str(tmp_path / "PASSWORD")
    assert "two words" not in repr(source)


def test_credentials_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "BYTES").write_bytes(b"\xff")
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "ZERO").write_bytes(b"a\0b")
    assert read_credentials(tmp_path).problems == (
        f"{tmp_path}/BYTES is not UTF-8 text",
        f"{tmp_path}/FOLDER cannot be read (Is a directory)",
        f"{tmp_path}/ZERO is not text: it holds a zero byte",
    )
    with pytest.raises(SettingsError, match=r"^CREDENTIALS_DIRECTORY is .*No such file"):
        read_credentials(tmp_path / "none")
