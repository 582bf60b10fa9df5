"""`keys`: gives callers keys, and takes them away."""

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from api_host.auth import keys
from api_host.auth.caller import Access, Rates
from api_host.auth.keys import Key, Keyring, Shown
from api_host.settings import ApiSettings
from hostkit import audit
from hostkit.options import env_file_option, json_option, load_settings

HOST = ApiSettings.host_name

_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Span(click.ParamType[timedelta]):
    """A number of seconds, minutes, hours, days or weeks: `90d`."""

    name = "SPAN"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Reads it."""
        if isinstance(value, timedelta):
            return value
        found = _SPAN.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is no span of time: write 90d, 12h or 30m", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


class End(click.ParamType[datetime]):
    """A moment to come: a span from now on, or the end of a day in UTC."""

    name = "SPAN|DATE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Reads it."""
        if isinstance(value, datetime):
            return value
        if _SPAN.fullmatch(value):
            return keys.now() + Span().convert(value, param, ctx)
        try:
            day = date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no end: write 90d, 12h or 2030-12-31", param, ctx)
        end = datetime.combine(day, time(23, 59, 59), UTC)
        if end <= keys.now():
            self.fail(f"{value} is over already", param, ctx)
        return end


def _name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not keys.NAME.fullmatch(value):
        raise click.BadParameter(
            f"{value!r} is no name: write at most 64 letters, digits, dots, underscores and"
            " hyphens, the first a letter or a digit"
        )
    return value


@click.group("keys")
def keys_group() -> None:
    """API keys: who may ask this host, and for what.

    \b
    A key is shown once, when it is made; the host keeps a hash of it only.
      api-host keys add shop --access predict --model iris --expires 90d
      api-host keys add grafana --access operate > /root/grafana.key
      api-host keys list
      api-host keys rotate shop --keep-old 1h
      api-host keys revoke shop

    \b
    A caller sends it as one of these headers:
      Authorization: Bearer tripod_...
      X-API-Key: tripod_...

    A running host knows of each change within two seconds.
    """  # noqa: D301 (click wants the character)


@keys_group.command()
@click.argument("name", callback=_name)
@click.option(
    "--access",
    type=click.Choice([each.value for each in Access]),
    multiple=True,
    default=(Access.PREDICT.value,),
    show_default=True,
    help="What it may do: predict (ask models, read what is served), train (start trainings and"
    " follow them), operate (metrics, loading). Give it once for each.",
)
@click.option("--model", multiple=True, metavar="NAME", help="Only this model; once for each.")
@click.option("--expires", type=End(), help="For instance 90d, or 2030-12-31. Default: never.")
@click.option("--requests-per-second", type=click.IntRange(min=1), help="Most requests a second.")
@click.option("--rows-per-second", type=click.IntRange(min=1), help="Most rows a second.")
@click.option("--concurrent", type=click.IntRange(min=1), help="Most requests at once.")
@click.option("--trainings-per-hour", type=click.IntRange(min=1), help="Most trainings an hour.")
@env_file_option
def add(  # noqa: PLR0917 (one an option)
    name: str,
    access: tuple[str, ...],
    model: tuple[str, ...],
    expires: datetime | None,
    requests_per_second: int | None,
    rows_per_second: int | None,
    concurrent: int | None,
    trainings_per_hour: int | None,
    env_file: Path | None,
) -> None:
    """Make a key, and print it alone on standard output."""
    number, text = keys.new_text()
    key = Key(
        name=name,
        access=tuple(each for each in Access if each in access),
        models=tuple(dict.fromkeys(model)) or None,
        rates=Rates(requests_per_second, rows_per_second, concurrent, trainings_per_hour),
        created=keys.now(),
        current=Shown(number, keys.digest(text), expires),
    )
    keyring = _keyring(env_file)
    keyring.add(key)
    audit.note_command(HOST, "key.add", f"key:{name}")
    click.echo(text)
    _tell(f"{name} may {_summary(key)}. This is the only time that its key is shown.")


@keys_group.command("list")
@json_option
@env_file_option
def list_keys(as_json: bool, env_file: Path | None) -> None:
    """What keys there are. Their texts are not known."""
    found = _keyring(env_file).all()
    if as_json:
        click.echo(json.dumps([_document(key) for key in found], indent=2))
    elif not found:
        _tell("There are no keys: 'api-host keys add NAME' makes one.")
    else:
        rows = [("NAME", "ID", "ACCESS", "MODELS", "EXPIRES", "CREATED"), *map(_row, found)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            click.echo("  ".join(cells).rstrip())


@keys_group.command()
@click.argument("name")
@click.option("--keep-old", type=Span(), help="How long the old one is accepted yet, as 1h.")
@click.option("--expires", type=End(), help="When the new one does. Default: as the old one.")
@env_file_option
def rotate(
    name: str, keep_old: timedelta | None, expires: datetime | None, env_file: Path | None
) -> None:
    """Replace a key by a new one with the same rights, and print that alone."""
    keyring = _keyring(env_file)
    end = expires or keyring.find(name).current.expires
    number, text = keys.new_text()
    moment = keys.now()
    key = keyring.rotate(
        name, Shown(number, keys.digest(text), end), keep=keep_old or timedelta(), moment=moment
    )
    audit.note_command(HOST, "key.rotate", f"key:{name}")
    click.echo(text)
    until = f"until {key.before.expires}" if key.before else "no longer, within two seconds"
    _tell(f"The key of {name} before this one is accepted {until}.")
    if key.is_expired(moment):
        _tell("The new one has expired already, as the old one: say --expires.")


@keys_group.command()
@click.argument("name")
@env_file_option
def revoke(name: str, env_file: Path | None) -> None:
    """Take a key away: it is refused within two seconds."""
    _keyring(env_file).revoke(name)
    audit.note_command(HOST, "key.revoke", f"key:{name}")
    _tell(f"The key of {name} is no longer accepted, within two seconds.")


def _keyring(env_file: Path | None) -> Keyring:
    return Keyring(load_settings(ApiSettings, env_file).settings.api_keys_file)


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)


def _summary(key: Key) -> str:
    access = ", ".join(key.access)
    models = f" only {', '.join(key.models)}" if key.models else " every model"
    end = key.current.expires
    return f"{access},{models}, {'for ever' if end is None else f'until {end}'}"


def _row(key: Key) -> tuple[str, ...]:
    end = key.current.expires
    over = " (over)" if key.is_expired(keys.now()) else ""
    return (
        key.name,
        key.current.id,
        ",".join(key.access),
        ",".join(key.models) if key.models else "all",
        "never" if end is None else f"{end:%Y-%m-%d %H:%M}{over}",
        f"{key.created:%Y-%m-%d}",
    )


def _document(key: Key) -> dict[str, Any]:
    """All that is known of a key, without the hashes."""
    found: dict[str, Any] = msgspec.to_builtins(key)
    current, before = found.pop("current"), found.pop("before")
    return {
        **found,
        "id": current["id"],
        "expires": current["expires"],
        "old_id": before and before["id"],
        "old_accepted_until": before and before["expires"],
    }
