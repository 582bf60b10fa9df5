import os
from pathlib import Path
from typing import ClassVar, Literal, Self

import pytest
from pydantic import Field, SecretStr, ValidationError, model_validator

from hostkit.errors import SettingsError
from hostkit.network import HttpUrl, Port
from hostkit.settings import Loaded, Setting, Settings, load

SECRET = "correct horse battery staple"


class KettleSettings(Settings):
    host_name: ClassVar[str] = "kettle-host"

    kettle_url: HttpUrl = Field(description="Where the kettle is", examples=["http://kettle:80"])
    kettle_port: Port = Field(5000, description="Port to listen on", examples=[5000])
    kettle_password: SecretStr | None = Field(None, min_length=8, description="What opens it")
    kettle_litres: float = Field(1.5, gt=0, le=3, allow_inf_nan=False, description="How much")
    kettle_mode: Literal["gentle", "rolling"] = Field("rolling", description="How it boils")
    kettle_label: str = Field("Tea", max_length=40, pattern="^[A-Z]", description="What it says")
    kettle_whistles: bool = Field(True, description="Whether it tells")
    kettle_store: str | None = Field(None, description="What it remembers")

    @model_validator(mode="after")
    def _gently_only_when_small(self) -> Self:
        if self.kettle_mode == "gentle" and self.kettle_litres > 2:
            raise ValueError("KETTLE_MODE=gentle takes too long for KETTLE_LITRES above 2")
        return self


URL = {"KETTLE_URL": "http://kettle"}


def read(text: str, folder: Path, **environment: str) -> Loaded[KettleSettings]:
    path = folder / "env"
    path.write_text(text)
    return load(KettleSettings, env_file=path, environment=environment)


def mistakes(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(KettleSettings, environment={**URL, **environment})
    return str(raised.value).splitlines()


def test_an_operator_is_told_where_to_change_a_setting(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "KETTLE_PASSWORD").write_text(SECRET)
    (credentials / "KETTLE_STORE").touch()
    env_file = tmp_path / "env"
    loaded = read(
        "\nKETTLE_URL=http://kettle",
        tmp_path,
        KETTLE_LITRES="2",
        CREDENTIALS_DIRECTORY=str(credentials),
    )
    assert loaded.place("KETTLE_URL") == f"KETTLE_URL in {env_file} line 2"
    assert loaded.place("KETTLE_PORT") == f"KETTLE_PORT, which is not set in {env_file}"
    assert loaded.place("KETTLE_LITRES") == "KETTLE_LITRES in the environment"
    assert loaded.place("KETTLE_PASSWORD") == f"KETTLE_PASSWORD in {credentials}/KETTLE_PASSWORD"
    empty = f"KETTLE_STORE, which is empty in {credentials}/KETTLE_STORE"
    assert loaded.place("KETTLE_STORE") == empty


def test_the_nearer_source_wins(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "KETTLE_PORT").write_text("3\n")
    text = "KETTLE_URL=http://kettle\nKETTLE_PORT=1\n"
    assert read("KETTLE_URL=http://kettle", tmp_path).settings.kettle_port == 5000
    assert read(text, tmp_path).settings.kettle_port == 1
    assert read(text, tmp_path, KETTLE_PORT="2").settings.kettle_port == 2
    loaded = read(text, tmp_path, KETTLE_PORT="2", CREDENTIALS_DIRECTORY=str(credentials))
    assert loaded.settings.kettle_port == 3
    assert str(loaded.origin("KETTLE_PORT")) == str(credentials / "KETTLE_PORT")
    assert str(loaded.origin("KETTLE_URL")) == f"{tmp_path / 'env'} line 1"
    assert str(loaded.origin("KETTLE_MODE")) == "default"


def test_an_empty_value_is_none_at_all(tmp_path: Path) -> None:
    text = "KETTLE_URL=http://kettle\nKETTLE_PORT=7\nKETTLE_STORE=\n"
    settings = read(text, tmp_path, KETTLE_PORT="").settings
    assert settings.kettle_port == 7
    assert settings.kettle_store is None


def test_settings_do_not_change() -> None:
    settings = load(KettleSettings, environment=URL).settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.kettle_port = 80


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = "# The kettle\n\nKETTLE_PORT=http\nKETTLE_LITRES = 12\n\nwhistle please\n"
    with pytest.raises(SettingsError) as raised:
        read(text, tmp_path, KETTLE_MODE="wild")
    path = tmp_path / "env"
    assert str(raised.value).splitlines() == [
        f"{path} line 6 is not an assignment: write NAME=value",
        "KETTLE_URL is not set: Where the kettle is; for example KETTLE_URL=http://kettle:80",
        f"KETTLE_PORT is 'http' in {path} line 3: it must be a whole number; for example"
        " KETTLE_PORT=5000",
        f"KETTLE_LITRES is '12' in {path} line 4: it must be 3.0 or less",
        "KETTLE_MODE is 'wild' in environment: it must be 'gentle' or 'rolling'",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("KETTLE_PORT", "80.5", "it must be a whole number"),
        ("KETTLE_PORT", "0", "it must be 1 or more"),
        ("KETTLE_PORT", "65536", "it must be 65535 or less"),
        ("KETTLE_LITRES", "much", "it must be a number"),
        ("KETTLE_LITRES", "nan", "it must be a finite number"),
        ("KETTLE_LITRES", "0", "it must be more than 0.0"),
        ("KETTLE_LABEL", "tea", "it must match the pattern ^[A-Z]"),
        ("KETTLE_LABEL", "T" * 41, "it must not be longer than 40 characters"),
        ("KETTLE_WHISTLES", "perhaps", "it must be true or false"),
        ("KETTLE_URL", "kettle:80", "a URL needs a scheme; try 'http://kettle:80'"),
    ],
)
def test_a_reason_is_in_plain_words(variable: str, value: str, reason: str) -> None:
    (mistake,) = mistakes(**{variable: value})
    assert (
        mistake.partition("; for example")[0] == f"{variable} is {value!r} in environment: {reason}"
    )


def test_a_rule_between_settings_speaks_for_itself() -> None:
    assert mistakes(KETTLE_MODE="gentle", KETTLE_LITRES="2.5") == [
        "KETTLE_MODE=gentle takes too long for KETTLE_LITRES above 2"
    ]


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    loaded = read(f"KETTLE_URL=http://kettle\nKETTLE_PASSWORD='{SECRET}'\n", tmp_path)
    assert loaded.settings.kettle_password is not None
    assert loaded.settings.kettle_password.get_secret_value() == SECRET
    assert SECRET not in repr(loaded)
    assert SECRET not in str(Setting.all(loaded))
    (mistake,) = mistakes(KETTLE_PASSWORD="short")
    assert mistake == (
        "KETTLE_PASSWORD is wrong in environment: it is too short: 8 or more are needed"
    )


def test_a_password_within_a_url_is_not_shown_either() -> None:
    (mistake,) = mistakes(KETTLE_URL=f"http://tea:{SECRET}@kettle")
    assert SECRET not in mistake
    assert "http://tea:***@kettle" in mistake
    loaded = load(KettleSettings, environment={**URL, "KETTLE_STORE": f"sql://tea:{SECRET}@db"})
    shown = {setting.name: setting.value for setting in Setting.all(loaded)}
    assert shown["KETTLE_STORE"] == "sql://tea:***@db"


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("KETTLE_PROT", "KETTLE_PORT"),
        ("KETTLE_LITERS", "KETTLE_LITRES"),
        ("KETTL_PASSWORD", "KETTLE_PASSWORD"),
        ("kettle_port", "KETTLE_PORT"),
        ("KETTLE-PORT", "KETTLE_PORT"),
    ],
)
def test_a_likely_typo_is_a_warning(typo: str, meant: str, tmp_path: Path) -> None:
    loaded = read(f"KETTLE_URL=http://kettle\n{typo}=1\n", tmp_path)
    assert loaded.warnings == (
        f"{typo} in {tmp_path / 'env'} line 2 is not a setting: did you mean {meant}?",
    )


def test_a_typo_below_the_right_line_is_a_warning_too(tmp_path: Path) -> None:
    loaded = read("KETTLE_URL=http://kettle\nKETTLE_ULR=http://other\n", tmp_path)
    assert loaded.warnings == (
        f"KETTLE_ULR in {tmp_path / 'env'} line 2 is not a setting: did you mean KETTLE_URL?",
    )


@pytest.mark.parametrize(
    "name", ["PATH", "KETTLE", "TEAPOT_PORT", "KETTLE_HOST", "_KETTLE_PORT", "KETTLE_URL"]
)
def test_other_variables_are_no_typos(name: str) -> None:
    assert load(KettleSettings, environment={**URL, name: "http://other"}).warnings == ()


def test_a_typo_that_causes_a_mistake_is_told_with_it() -> None:
    with pytest.raises(SettingsError, match="KETTLE_URL is not set") as raised:
        load(KettleSettings, environment={"KETTLE_ULR": "http://kettle"})
    assert raised.value.warnings == (
        "KETTLE_ULR in environment is not a setting: did you mean KETTLE_URL?",
    )


def test_a_key_that_is_set_twice_is_a_warning(tmp_path: Path) -> None:
    loaded = read("KETTLE_PORT=1\nKETTLE_URL=http://kettle\nKETTLE_PORT=2\n", tmp_path)
    assert loaded.settings.kettle_port == 2
    assert loaded.warnings == (
        f"KETTLE_PORT in {tmp_path / 'env'} line 3 replaces the one in line 1",
    )


def test_all_variables_are_passed_on(tmp_path: Path) -> None:
    loaded = read("KETTLE_URL=http://kettle\nTEA=green\n", tmp_path, TEA="black", CUP="1")
    assert loaded.environment() == {"KETTLE_URL": "http://kettle", "TEA": "black", "CUP": "1"}


def test_the_environment_is_this_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "KETTLE_URL", "http://elsewhere")
    assert load(KettleSettings).settings.kettle_url == "http://elsewhere"


def test_what_config_shows() -> None:
    loaded = load(KettleSettings, environment={**URL, "KETTLE_PASSWORD": SECRET})
    rows = [(row.name, row.value, str(row.origin), row.description) for row in Setting.all(loaded)]
    assert rows[:3] == [
        ("KETTLE_URL", "http://kettle", "environment", "Where the kettle is"),
        ("KETTLE_PORT", "5000", "default", "Port to listen on"),
        ("KETTLE_PASSWORD", "(hidden)", "environment", "What opens it"),
    ]
