"""A host's env file, environment and credentials, read once into one typed, frozen object.

The first source that has a value wins: the credentials directory, the environment, the env file,
the default. A host declares its settings as a subclass of `Settings`; a field's name in upper case
is the variable's name.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from dotenv.parser import parse_stream
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from hostkit.errors import SettingsError
from hostkit.network import redacted

CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what `LoadCredential=` names (systemd.exec(5))."""


class Settings(BaseModel):
    """Base of each host's settings: frozen; `mlflow_port` is read from `MLFLOW_PORT`.

    A field's `description` says what it is for and its `examples` what would be right: both are
    shown to the operator. A field of type `SecretStr` is never shown.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=str.upper,
        populate_by_name=True,
        extra="ignore",
        validate_default=True,
    )

    host_name: ClassVar[str]
    """The host's name, for instance `api-host`."""

    @classmethod
    def env_file(cls) -> Path:
        """Where the env file is on a server."""
        return Path("/etc") / cls.host_name / "env"

    @classmethod
    def variables(cls) -> dict[str, FieldInfo]:
        """The settings by the name of their variable."""
        return {name.upper(): info for name, info in cls.model_fields.items()}


AnySettings = TypeVar("AnySettings", bound=Settings)


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
class Loaded(Generic[AnySettings]):
    """Settings that were read.

    `settings`: the typed object.
    `values`: every variable of the three sources, known to the host or not, by name.
    `warnings`: what looks like a mistake but may not be one, a sentence each.
    """

    settings: AnySettings
    values: Mapping[str, Value]
    warnings: tuple[str, ...] = ()

    def origin(self, variable: str) -> Origin:
        """Where the value of a setting came from."""
        value = self.values.get(variable)
        return DEFAULT if value is None else value.origin

    def environment(self) -> dict[str, str]:
        """All variables, for a process that is to see what this one saw."""
        return {name: value.text for name, value in self.values.items()}


def load(
    model: type[AnySettings],
    *,
    env_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Loaded[AnySettings]:
    """Reads a host's settings.

    `env_file`: the env file; by default the host's own below /etc, which need not exist.
    `environment`: the variables of the process; by default those of this one.
    Raises `SettingsError`, which names every mistake at once.
    """
    if environment is None:
        environment = os.environ
    values = dict(_read_env_file(env_file or model.env_file(), required=env_file is not None))
    values |= {name: Value(text, ENVIRONMENT) for name, text in environment.items()}
    values |= _read_credentials(environment.get(CREDENTIALS_DIRECTORY), model)
    # `KEY=` in an env file is how an operator says "not set".
    values = {name: value for name, value in values.items() if value.text}
    known = {name: value.text for name, value in values.items() if name in model.variables()}
    try:
        settings = model.model_validate(known)
    except ValidationError as error:
        problems = [_problem(model, details, values) for details in error.errors()]
        raise SettingsError("\n".join(problems)) from None
    return Loaded(settings, values, tuple(_warnings(model, values)))


def _read_env_file(path: Path, *, required: bool) -> Iterator[tuple[str, Value]]:
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        if required:
            raise SettingsError(
                f"{path} does not exist: create it, or name another env file"
            ) from None
        return
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read ({error.strerror}): run as root or as the host's user"
        ) from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from None
    broken = [binding.original for binding in bindings if binding.error]
    if broken:
        raise SettingsError(
            "\n".join(
                f"{path} line {original.line} is not an assignment: write NAME=value"
                for original in broken
            )
        )
    for binding in bindings:
        if binding.key is not None:
            # The parser counts blank lines and comments above an assignment as its own.
            skipped = len(binding.original.string) - len(binding.original.string.lstrip())
            line = binding.original.line + binding.original.string[:skipped].count("\n")
            yield binding.key, Value(binding.value or "", Origin(str(path), line))


def _read_credentials(directory: str | None, model: type[Settings]) -> dict[str, Value]:
    if directory is None:
        return {}
    values = {}
    for path in sorted(Path(directory).iterdir()):
        try:
            text = path.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError):
            if path.name not in model.variables():
                continue  # Not one of ours: a certificate or a key that is read elsewhere.
            raise SettingsError(f"{path} cannot be read as UTF-8 text") from None
        values[path.name] = Value(text, Origin(str(path)))
    return values


def _problem(model: type[Settings], details: ErrorDetails, values: Mapping[str, Value]) -> str:
    if not details["loc"]:  # A validator of the whole model: its message names the variables.
        return _reason(details)
    variable = str(details["loc"][0]).upper()
    info = model.variables()[variable]
    value = values.get(variable)
    if value is None and details["type"] == "missing":
        found = f"{variable} is not set"
    elif value is None:
        found = f"{variable} is not right by default"
    elif _is_secret(info):
        found = f"{variable} is wrong in {value.origin}"
    else:
        found = f"{variable} is {redacted(value.text)!r} in {value.origin}"
    advice = f"; for example {variable}={info.examples[0]}" if info.examples else ""
    if details["type"] == "missing":
        return f"{found}: {info.description}{advice}"
    return f"{found}: {_reason(details)}{advice}"


def _reason(details: ErrorDetails) -> str:
    return details["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _is_secret(info: FieldInfo) -> bool:
    return info.annotation in (SecretStr, SecretStr | None)


def _warnings(model: type[Settings], values: Mapping[str, Value]) -> Iterator[str]:
    known = model.variables()
    for name, value in values.items():
        if name in known or name.startswith("_"):
            continue
        unset = [candidate for candidate in known if candidate not in values]
        alike = difflib.get_close_matches(name, unset, n=1, cutoff=0.9)
        if alike:
            yield f"{name} in {value.origin} is not a setting: did you mean {alike[0]}?"


@dataclass(frozen=True)
class Setting:
    """One line of `config`: a setting as a person sees it.

    `value` is None where nothing is set, and "(hidden)" for a secret.
    """

    name: str
    value: str | None
    origin: Origin
    description: str

    @classmethod
    def all(cls, loaded: Loaded[Any]) -> tuple[Self, ...]:
        """Every setting of a host, in the order in which it declares them."""
        settings: Settings = loaded.settings
        return tuple(
            cls(
                name,
                _shown(getattr(settings, name.lower()), info),
                loaded.origin(name),
                info.description or "",
            )
            for name, info in settings.variables().items()
        )


def _shown(value: object, info: FieldInfo) -> str | None:
    if value is None:
        return None
    if _is_secret(info):
        return "(hidden)"
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return redacted(str(value))
