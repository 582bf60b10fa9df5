"""Where the text of a setting comes from: an env file, the environment or a credential."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from hostkit.errors import SettingsError


@dataclass(frozen=True)
class Origin:
    """Where a value was found.

    `place`: "default", "environment", or the path of an env file or a credential.
    `line`: the line within an env file, counted from 1.
    """

    place: str
    line: int | None = None

    def __str__(self) -> str:
        return self.place if self.line is None else f"{self.place} line {self.line}"


DEFAULT = Origin("default")
ENVIRONMENT = Origin("environment")


@dataclass(frozen=True)
class Value:
    """The text of a variable and where it was found."""

    text: str = field(repr=False)
    origin: Origin


@dataclass(frozen=True)
class Source:
    """What one source holds.

    `values`: the variables that have a text: `KEY=` is how an operator says "not set".
    `problems`: what cannot be read, a sentence each.
    `warnings`: what looks like a mistake but may not be one, a sentence each.
    """

    values: Mapping[str, Value]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_environment(environment: Mapping[str, str]) -> Source:
    """The variables of a process."""
    return Source({name: Value(text, ENVIRONMENT) for name, text in environment.items() if text})


def read_env_file(path: Path, *, required: bool) -> Source:
    """The assignments of an env file, which may be absent if it is not `required`.

    Raises `SettingsError` where the file cannot be read at all.
    """
    values: dict[str, Value] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for binding in _bindings(path, required=required):
        origin = Origin(str(path), _line(binding))
        if binding.error or (binding.key is not None and binding.value is None):
            problems.append(f"{origin} is not an assignment: write NAME=value")
        elif "\0" in binding.original.string:
            problems.append(f"{origin} is not text: it holds a zero byte")
        elif binding.key is not None:
            if binding.key in values:
                before = values[binding.key].origin.line
                warnings.append(f"{binding.key} in {origin} replaces the one in line {before}")
            values[binding.key] = Value(binding.value or "", origin)
    return Source(
        {name: value for name, value in values.items() if value.text},
        tuple(problems),
        tuple(warnings),
    )


def read_credentials(directory: Path) -> Source:
    """The files of a credentials directory (`LoadCredential=` of systemd) that name a variable."""
    values: dict[str, Value] = {}
    problems: list[str] = []
    for path in _entries(directory):
        try:
            text = path.read_text(encoding="utf-8").rstrip("\n")
        except UnicodeDecodeError:
            problems.append(f"{path} is not UTF-8 text")
        except OSError as error:
            problems.append(f"{path} cannot be read ({error.strerror})")
        else:
            if "\0" in text:
                problems.append(f"{path} is not text: it holds a zero byte")
            elif text:
                values[path.name] = Value(text, Origin(str(path)))
    return Source(values, tuple(problems))


def _bindings(path: Path, *, required: bool) -> list[Binding]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return list(parse_stream(stream))
    except FileNotFoundError:
        if not required:
            return []
        reason = "does not exist: create it, or name another env file"
    except PermissionError:
        reason = "cannot be read by this user: run as root or as the host's user"
    except OSError as error:
        reason = f"cannot be read ({error.strerror}): name another env file"
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 text (byte {error.start}): save it as UTF-8"
    raise SettingsError(f"{path} {reason}")


def _line(binding: Binding) -> int:
    # The parser counts the blank lines above an assignment as its own.
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _entries(directory: Path) -> Iterator[Path]:
    try:
        paths = sorted(directory.iterdir())
    except OSError as error:
        raise SettingsError(
            f"CREDENTIALS_DIRECTORY is {str(directory)!r}, which cannot be read ({error.strerror})"
        ) from None
    # Other names are those of certificates and keys, which others read.
    return (path for path in paths if re.fullmatch("[A-Z_][A-Z0-9_]*", path.name))
