"""The steps to MLflow, by its REST API: its release, and a file that goes there and back."""

import secrets
from functools import partial

import httpx

from hostkit.doctor.connection import Target, connection_steps, server_error
from hostkit.doctor.steps import STEP_SECONDS, Fault, Step, Walk

MAJOR = 3
"""The releases of MLflow that Tripod knows."""

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


def walk(target: Target) -> Walk:
    """All steps to MLflow."""
    return Walk(
        target.link.name,
        target.description,
        (
            *connection_steps(target),
            Step("version", partial(_version, target)),
            Step("artifact", partial(_artifact, target), seconds=3 * STEP_SECONDS),
        ),
    )


def _version(target: Target) -> str:
    return known_release(target, target.ask("GET", "/version").text.strip(), MAJOR)


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


def _artifact(target: Target) -> str:
    """Writes a file, reads it and deletes it, beside all experiments."""
    path = f"{_ARTIFACTS}/tripod-doctor-{secrets.token_hex(8)}"
    content = secrets.token_bytes(32)
    _succeed(target, target.ask("PUT", path, content=content), "written")
    try:
        read = target.ask("GET", path)
        _succeed(target, read, "read")
    finally:
        deleted = target.ask("DELETE", path)
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
