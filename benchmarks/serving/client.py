"""Starts the client, which is a process of its own, and reads what it saw."""

import dataclasses
import json
import os
import subprocess
import sys

from benchmarks.serving import load
from benchmarks.serving.plan import Plan, Seen


def start(plan: Plan) -> "subprocess.Popen[str]":
    """Starts the client as a process."""
    client = subprocess.Popen(
        [sys.executable, "-m", load.__name__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None  # noqa: S101
    client.stdin.write(json.dumps(dataclasses.asdict(plan)))
    client.stdin.close()
    client.stdin = None
    return client


def finish(client: "subprocess.Popen[str]") -> Seen:
    """What it saw, once it has ended."""
    output, _ = client.communicate()
    if client.returncode != 0:
        raise RuntimeError(f"the client ended with exit code {client.returncode}")
    found = json.loads(output)
    many = {name: tuple(found[name]) for name in ("good", "due", "refused")}
    return Seen(**{**found, **many})


def run(plan: Plan) -> Seen:
    """Carries out a plan in a process of its own."""
    return finish(start(plan))
