"""`config proxy` and `config firewall`."""

from pathlib import Path

import click

from hostkit.definition import Definition
from hostkit.options import env_file_option, load_settings
from hostkit.outside import firewall as firewalls
from hostkit.outside import proxy as proxies
from hostkit.outside.proxy import Certificate, Proxy

SSH_PORT = 22
HIGHEST_PORT = 65535


def add_commands(config: click.Group, definition: Definition) -> None:
    """Gives a host's `config` its commands."""
    default = Certificate.by_default(definition.name)

    @config.command()
    @click.argument("program", type=click.Choice([proxy.value for proxy in Proxy]))
    @click.option(
        "--certificate",
        type=click.Path(path_type=Path),
        default=default.chain,
        show_default=True,
        metavar="PATH",
        help="The certificate with those between it and the CA, as PEM.",
    )
    @click.option(
        "--key",
        type=click.Path(path_type=Path),
        default=default.key,
        show_default=True,
        metavar="PATH",
        help="Its private key.",
    )
    @click.option(
        "--client-ca",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Let in only clients that show a certificate of this CA, people's browsers too.",
    )
    @env_file_option
    def proxy(
        program: str, certificate: Path, key: Path, client_ca: Path | None, env_file: Path | None
    ) -> None:
        """Print the configuration of nginx, Caddy or Traefik that agrees with the settings."""
        loaded = load_settings(definition.settings, env_file)
        entrance = definition.entrance(loaded)
        files = Certificate(certificate, key)
        text = proxies.render(Proxy(program), definition.name, entrance, files, client_ca=client_ca)
        click.echo(text, nl=False)

    @config.command()
    @click.option(
        "--from",
        "clients",
        multiple=True,
        metavar="CLIENT,...",
        help="Addresses, networks or names that may come in, besides those in the settings.",
    )
    @click.option(
        "--ssh-port",
        type=click.IntRange(1, HIGHEST_PORT),
        default=SSH_PORT,
        show_default=True,
        metavar="PORT",
        help="Stays open to everybody.",
    )
    @env_file_option
    def firewall(clients: tuple[str, ...], ssh_port: int, env_file: Path | None) -> None:
        """Print rules of nftables that open this host's port to its clients, and nothing else."""
        loaded = load_settings(definition.settings, env_file)
        given = [part.strip() for text in clients for part in text.split(",") if part.strip()]
        entrance = definition.entrance(loaded)
        click.echo(firewalls.render(definition.name, entrance, given, ssh_port=ssh_port), nl=False)
