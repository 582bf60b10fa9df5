"""A client that calls by gRPC without a pause, for the lab.

In a process of its own: a process may be in two networks, but gRPC makes its connections in threads
of its own.
"""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from lab.client import key_headers
from lab.lab import Lab

SECONDS = 60.0


@contextmanager
def calling(lab: Lab, target: str, ca: Path | None = None) -> Iterator[Counter[str]]:
    """Calls a host as the world does; what was answered is there after the block.

    `ca`: with TLS, of a host whose certificate it signed.
    """
    # It begins in another folder.
    path = f"PYTHONPATH={os.pathsep.join(map(os.path.abspath, sys.path))}"
    key = f"API_KEY={key_headers(lab)['X-API-Key']}"
    program = ("env", path, key, "GRPC_DNS_RESOLVER=native", sys.executable, __file__)
    command = lab.command(*program, target, *([str(ca)] if ca else []))
    answers: Counter[str] = Counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "no answer at all"
        yield answers
        printed, _ = process.communicate()
    answers.update(json.loads(printed))


def call(target: str, ca: str | None) -> None:
    """Calls until the standard input ends; says so as soon as there is an answer, and all then."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    answers: Counter[str] = Counter()
    with connect(target, ca) as channel:
        ask: Any = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        while not (answers and ended.is_set()):
            try:
                ask(b"", timeout=SECONDS, metadata=(("x-api-key", os.environ["API_KEY"]),))
                answers["OK"] += 1
            except grpc.RpcError as error:
                answers[str(error)] += 1
            if answers.total() == 1:
                print("called", flush=True)  # noqa: T201
    print(json.dumps(answers))  # noqa: T201


def connect(target: str, ca: str | None) -> grpc.Channel:
    """A channel, with TLS where there is a CA."""
    # How long a connection may take to come about: a whole start of a host on a busy machine.
    options = [("grpc.min_reconnect_backoff_ms", int(SECONDS * 1000))]
    if ca is None:
        return grpc.insecure_channel(target, options)
    trust = grpc.ssl_channel_credentials(Path(ca).read_bytes())
    return grpc.secure_channel(target, trust, options)


if __name__ == "__main__":
    call(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
