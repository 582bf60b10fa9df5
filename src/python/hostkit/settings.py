"""A host's env file, environment and credentials, read once into one typed, frozen object.

The first source that has a value wins: the credentials directory, the environment, the env file,
the default. A host declares its settings as a subclass of `Settings`; a field's name in upper case
is the variable's name.
"""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from hostkit.errors import SettingsError
from hostkit.network import redacted
from hostkit.server.layout import Layout
from hostkit.sources import (
    DEFAULT,
    ENVIRONMENT,
    Origin,
    Value,
    read_credentials,
    read_env_file,
    read_environment,
)

CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what `LoadCredential=` names (systemd.exec(5))."""

_SYSTEMDS_COPIES = Path("/run/credentials")

_LIKENESS_OF_A_TYPO = 0.87


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


WITH_COMMAS = BeforeValidator(_split)
"""For a setting of several values, which an env file has with commas between them."""


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
class Loaded(Generic[AnySettings]):
    """Settings that were read.

    `settings`: the typed object.
    `values`: every variable of the three sources, known to the host or not, by name.
    `env_file`: the env file that was read, or would have been.
    `warnings`: what looks like a mistake but may not be one, a sentence each.
    """

    settings: AnySettings
    values: Mapping[str, Value]
    env_file: Path
    warnings: tuple[str, ...] = ()

    def origin(self, variable: str) -> Origin:
        """Where the value of a setting came from."""
        value = self.values.get(variable)
        return DEFAULT if value is None else value.origin

    def place(self, variable: str) -> str:
        """Where an operator changes a setting: its variable, and the file and line, in words."""
        origin = self.origin(variable)
        directory = self.values.get(CREDENTIALS_DIRECTORY)
        if directory is not None and (Path(directory.text) / variable).exists():
            state = ", which is empty" if origin == DEFAULT else ""
            return f"{variable}{state} in {self._credential(Path(directory.text), variable)}"
        if origin == DEFAULT:
            return f"{variable}, which is not set in {self.env_file}"
        if origin == ENVIRONMENT:
            return f"{variable} in the environment"
        return f"{variable} in {origin}"

    def credentials(self) -> dict[str, Path]:
        """The files of the variables that came as credentials."""
        return {
            name: Path(value.origin.place)
            for name, value in self.values.items()
            if value.origin.line is None and value.origin != ENVIRONMENT
        }

    def _credential(self, directory: Path, variable: str) -> Path:
        """The file of a credential that an operator changes, rather than systemd's copy of it."""
        if directory.is_relative_to(_SYSTEMDS_COPIES):
            directory = Layout(self.settings.host_name).credentials
        return directory / variable

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
    path = env_file or model.env_file()
    sources = [
        read_env_file(path, required=env_file is not None),
        read_environment(environment),
    ]
    if directory := environment.get(CREDENTIALS_DIRECTORY):
        sources.append(read_credentials(Path(directory)))
    values = {name: value for source in sources for name, value in source.values.items()}
    problems = [problem for source in sources for problem in source.problems]
    warnings = [warning for source in sources for warning in source.warnings]
    warnings += _likely_typos(model, values)
    try:
        settings = model.model_validate(
            {name: value.text for name, value in values.items() if name in model.variables()}
        )
    except ValidationError as error:
        problems += _problems(model, error.errors(), values)
    if problems:
        raise SettingsError("\n".join(problems), warnings=tuple(warnings))
    return Loaded(settings, values, path, tuple(warnings))


def _problems(
    model: type[Settings], errors: Iterable[ErrorDetails], values: Mapping[str, Value]
) -> Iterator[str]:
    for details in errors:
        if not details["loc"]:  # A validator of the whole model: its message names the variables.
            yield _reason(details)
        elif details["type"] != "default_factory_not_called":  # Only follows from another one.
            yield _problem(model, details, values)


def _problem(model: type[Settings], details: ErrorDetails, values: Mapping[str, Value]) -> str:
    variable = str(details["loc"][0]).upper()
    info = model.variables()[variable]
    advice = f"; for example {variable}={info.examples[0]}" if info.examples else ""
    if details["type"] == "missing":
        return f"{variable} is not set: {(info.description or '').rstrip('.')}{advice}"
    value = values.get(variable)
    if value is None:
        found = f"{variable} is not right by default"
    elif _is_secret(info):
        found = f"{variable} is wrong in {value.origin}"
    else:
        found = f"{variable} is {redacted(value.text)!r} in {value.origin}"
    return f"{found}: {_reason(details)}{advice}"


_REASONS = {
    "bool_parsing": "it must be true or false",
    "enum": "it must be {expected}",
    "finite_number": "it must be a finite number",
    "float_parsing": "it must be a number",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be {ge} or more",
    "int_from_float": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be {le} or less",
    "literal_error": "it must be {expected}",
    "string_pattern_mismatch": "it must match the pattern {pattern}",
    "string_too_long": "it must not be longer than {max_length} characters",
    "string_too_short": "it must not be shorter than {min_length} characters",
    "too_long": "it is too long: {max_length} or fewer are allowed",
    "too_short": "it is too short: {min_length} or more are needed",
    "value_error": "{error}",
}
"""What a person is told, by Pydantic's type of error."""


def _reason(details: ErrorDetails) -> str:
    if template := _REASONS.get(details["type"]):
        return template.format_map(details.get("ctx", {}))
    return details["msg"]


def _is_secret(info: FieldInfo) -> bool:
    return info.annotation in (SecretStr, SecretStr | None)


def _likely_typos(model: type[Settings], values: Mapping[str, Value]) -> Iterator[str]:
    known = model.variables()
    unset = [name for name in known if name not in values]
    for name, value in values.items():
        if name in known or name.startswith("_"):
            continue
        # An env file is written for this host, and may correct a line above it; other processes
        # have variables of their own, which may well be like one that is set.
        meant = unset if value.origin.line is None else known
        alike = difflib.get_close_matches(name.upper(), meant, n=1, cutoff=_LIKENESS_OF_A_TYPO)
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
