"""Commands of the API host."""

import os
from pathlib import Path

import click

from api_host.auth.commands import keys_group
from api_host.definition import DEFINITION
from api_host.settings import ApiSettings
from hostkit import log
from hostkit.cli import HostGroup, add_common_commands
from hostkit.options import env_file_option, load_settings
from hostkit.settings import load

ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Read when numpy and scikit-learn are imported: a call of a model takes one core.

Predictions are made in several threads and processes already. Those of one call would wait for each
other, turning in circles: gradient boosting then takes up to fifteen times the processor's time.
"""


@click.group(cls=HostGroup)
def main() -> None:
    """Server 3 of Tripod: predictions of the models that MLflow calls champions.

    \b
    On an empty machine:
      api_host.pex config --check             is the env file right?
      api_host.pex serve                      serves as soon as there is a champion
      curl http://127.0.0.1:8000/             says what is served, and who answers
      api_host.pex keys add NAME              off loopback, callers need a key

    Settings come from /etc/api-host/env, or from the file that --env-file names.
    """  # noqa: D301 (click wants the character)


@main.command()
@env_file_option
def serve(env_file: Path | None) -> None:
    """Serve until SIGTERM; what has been asked by then is answered."""
    loaded = load_settings(ApiSettings, env_file)
    # The libraries that call other servers have variables of their own, such as SSL_CERT_FILE. Ours
    # stay out of the environment, which would win over an env file that is read again.
    ours = ApiSettings.variables()
    os.environ.update(
        {name: text for name, text in loaded.environment().items() if name not in ours}
    )
    for name, text in ONE_CORE.items():
        os.environ.setdefault(name, text)
    # Imported here: `version` and `config` need no server.
    from api_host.documents import to_line  # noqa: PLC0415
    from api_host.serve import serve as run  # noqa: PLC0415

    log.configure(to_json=to_line)
    run(loaded.settings, lambda: load(ApiSettings, env_file=env_file).settings)


main.add_command(keys_group)
add_common_commands(main, DEFINITION)
