"""The steps to MLflow, by its REST API: its release, and a file that goes there and back."""

import secrets
from dataclasses import dataclass
from functools import partial

import httpx
from pydantic import SecretStr

from hostkit.doctor.connection import Target, connection_steps, server_error
from hostkit.doctor.steps import STEP_SECONDS, Fault, NothingToCheck, Step, Walk

MAJOR = 3
"""The releases of MLflow that Tripod knows."""

_MODELS = "/api/2.0/mlflow/registered-models/search?max_results=1"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True)
class Account:
    """Whom this host calls as.

    `password`: None where none is set.
    `setting`: the variable of the password, with file and line.
    `command`: what makes such an account, on MLflow's server.
    `mends`: what mends a wrong password of an account that 'users' may not change.
    """

    username: str
    password: SecretStr | None
    setting: str
    command: str
    mends: str | None = None

    @property
    def credentials(self) -> tuple[str, str] | None:
        """For an HTTP client."""
        if self.password is None:
            return None
        return self.username, self.password.get_secret_value()


def walk(target: Target, account: Account) -> Walk:
    """All steps to MLflow."""
    return Walk(
        target.link.name,
        target.description,
        (
            *connection_steps(target),
            Step("login", partial(_login, target, account)),
            Step("version", partial(_version, target, account)),
            Step("artifact", partial(_artifact, target, account), seconds=3 * STEP_SECONDS),
        ),
    )


def _login(target: Target, account: Account) -> str:
    response = target.ask("GET", _MODELS, auth=account.credentials)
    if response.is_success:
        return f"as {account.username}" if account.password else "without an account"
    if response.status_code == httpx.codes.FORBIDDEN:
        raise Fault(
            f"MLflow refuses the account {account.username} (403)",
            "The password is right, but the account's role lets it read no models.",
            f"On the server of MLflow: 'mlflow-host users remove {account.username}', then"
            f" '{account.command}'; write the password that it shows into {account.setting}.",
        )
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise Fault(
            "MLflow has seen too many wrong passwords from here (429)",
            "For a minute it looks at no other.",
            f"Correct {account.setting}, and ask again in a minute.",
        )
    if response.status_code != httpx.codes.UNAUTHORIZED:
        raise server_error(target.address, response)
    if account.password is None:
        raise Fault(
            "MLflow wants an account (401)",
            "It asks for one where other machines can reach it, and this host has none.",
            account.mends
            or f"On the server of MLflow: '{account.command}'; write the password that it shows"
            f" into {account.setting}, and restart this host.",
        )
    raise Fault(
        f"MLflow refuses the account {account.username} (401)",
        "The password is another one there, or there is no such account.",
        account.mends
        or "On the server of MLflow: 'mlflow-host users list' shows the accounts,"
        f" 'mlflow-host users password {account.username}' makes a new password; write it into"
        f" {account.setting}, and restart this host.",
    )


def _version(target: Target, account: Account) -> str:
    response = target.ask("GET", "/version", auth=account.credentials)
    return known_release(target, response.text.strip(), MAJOR)


def known_release(target: Target, version: str, major: int) -> str:
    """The version, if its first number is the one that Tripod is made for."""
    server = target.server
    if version.partition(".")[0] == str(major):
        return f"{server.title} {version}"
    older = version.partition(".")[0] < str(major)
    raise Fault(
        f"{server.title} there is {version or 'of no known version'}",
        f"Tripod is made for {server.title} {major}: this one is"
        f" {'too old' if older else 'too new'}.",
        f"Install the same release of Tripod on both servers: '{server.host} version' there tells"
        " which it is.",
    )


def _artifact(target: Target, account: Account) -> str:
    """Writes a file, reads it and deletes it, beside all experiments."""
    path = f"{_ARTIFACTS}/tripod-doctor-{secrets.token_hex(8)}"
    content = secrets.token_bytes(32)
    ask = partial(target.ask, auth=account.credentials)
    written = ask("PUT", path, content=content)
    if account.password and written.status_code == httpx.codes.FORBIDDEN:
        raise NothingToCheck(f"{account.username} may not write beside experiments, and need not")
    _succeed(target, written, "written")
    try:
        read = ask("GET", path)
        _succeed(target, read, "read")
    finally:
        deleted = ask("DELETE", path)
    _succeed(target, deleted, "deleted")
    if read.content != content:
        raise Fault(
            "an artifact came back changed",
            "Something between here and the artifact store changes files: mostly a proxy.",
            f"Call MLflow without that proxy in {target.setting}, or let it pass files on as they"
            " are.",
        )
    return "a file was written, read and deleted"


def _succeed(target: Target, response: httpx.Response, done: str) -> None:
    if response.is_success:
        return
    fault = server_error(target.address, response)
    server = target.server
    meaning = {
        httpx.codes.REQUEST_ENTITY_TOO_LARGE: "The proxy before MLflow limits how large a file"
        " may be.",
        httpx.codes.SERVICE_UNAVAILABLE: "MLflow was started without --serve-artifacts.",
    }.get(
        httpx.codes(response.status_code),
        "MLflow's artifact store cannot be used: its disk is full, its folder belongs to another"
        " user, or its object store refuses.",
    )
    raise Fault(
        f"an artifact could not be {done}: {fault.seen}",
        meaning,
        f"On the server of MLflow: '{server.host} doctor', and MLFLOW_ARTIFACTS_DESTINATION in"
        f" {server.env_file}.",
    )
