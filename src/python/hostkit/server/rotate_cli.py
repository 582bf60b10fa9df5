"""`rotate`."""

import dataclasses
import json
import os
import sys

import click

from hostkit import audit
from hostkit.definition import Definition
from hostkit.errors import HostError
from hostkit.options import json_option
from hostkit.rotation import Rotation
from hostkit.server import install as installing
from hostkit.server import machine, rotate, systemd
from hostkit.server.install_cli import ending_on_signals, tell
from hostkit.server.layout import Layout
from hostkit.server.operations import Machine
from hostkit.server.rotate import InstalledServer, Secret

MOST_BYTES = 64 * 1024


def add_rotate_command(group: click.Group, definition: Definition) -> None:
    """Gives a host `rotate`."""

    @group.command(name="rotate")
    @click.argument("name", required=False)
    @click.option("--list", "listing", is_flag=True, help="Show all secrets and how old they are.")
    @click.option("--stdin", "given", is_flag=True, help="Read the new value: it is not made here.")
    @click.option("--back", is_flag=True, help="Go back to the former value, after a failure.")
    @json_option
    def command(name: str | None, listing: bool, given: bool, back: bool, as_json: bool) -> None:
        """Replace a secret by a new one, and let everything that uses it know.

        Cut off, it goes on when it is run again.
        """
        machine.require_root(definition.name, "rotate")
        layout = Layout(definition.name)
        if not layout.current.exists() or not systemd.is_booted():
            raise HostError(
                f"{definition.name} is not installed here: 'rotate' changes the secrets of a"
                " server; those of dev mode are lines of an env file"
            )
        if listing or name is None:
            _tell_all(list(rotate.secrets(definition, layout)), as_json=as_json)
            return
        rotation = _rotation(definition, layout, name)
        value = _given(definition, layout, name) if given else None
        os.umask(0o077)
        with ending_on_signals(), installing.locked(layout):
            begun = rotate.back(layout, name) if back else None
            journal = begun or rotate.begin(layout, name, rotation, value)
            server = InstalledServer(Machine(definition, layout, tell))
            try:
                rotate.carry_out(layout, rotation, journal, server, tell)
            except HostError as error:
                raise HostError(f"{error}\n{_ways_on(definition.name, name)}") from None
        done = "secret.rotate-back" if back else "secret.rotate"
        audit.note_command(definition.name, done, f"secret:{name}")
        _tell_end(name, rotation, back=back, as_json=as_json)


def _ways_on(host: str, name: str) -> str:
    return (
        f"{name} is half rotated: mend that and run '{host} rotate {name}' again, or go back with"
        f" '{host} rotate {name} --back'"
    )


def _rotation(definition: Definition, layout: Layout, name: str) -> Rotation:
    known = rotate.rotations(definition, layout)
    if name not in known:
        raise HostError(f"{name} is no secret of {definition.name}; it has {', '.join(known)}")
    return known[name]


def _given(definition: Definition, layout: Layout, name: str) -> str:
    value = sys.stdin.buffer.read(MOST_BYTES + 1)
    text = value.decode(errors="replace").rstrip("\n")
    if len(value) > MOST_BYTES or not text.strip() or "\0" in text or "\ufffd" in text:
        raise HostError(f"standard input has no value for {name}: it must be text, and not empty")
    rotate.check(definition, layout, name, text)
    return text


def _tell_end(name: str, rotation: Rotation, *, back: bool, as_json: bool) -> None:
    elsewhere = None if back else rotation.elsewhere
    if as_json:
        click.echo(json.dumps({"name": name, "back": back, "elsewhere": elsewhere}))
        return
    click.echo(f"{name} has its former value again." if back else f"{name} has a new value.")
    for sentence in (rotation.effect, elsewhere):
        if sentence:
            click.echo(sentence)


def _tell_all(secrets: list[Secret], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(secret) for secret in secrets], indent=2))
        return
    for secret in secrets:
        age = "not set" if secret.days is None else f"{secret.days} days"
        how = "" if secret.generated else " (--stdin)"
        cut_off = "; its rotation was cut off: run it again" if secret.unfinished else ""
        click.echo(f"{secret.name}{how}: {age}; {secret.use}{cut_off}")
