"""A real Redis, which can be stopped and started again."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import redis
import stamina

START_SECONDS = 30.0


class RedisServer:
    """The server.

    `url`: its own, with a password.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self.url = f"redis://:secret@127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, without anything in it, and waits until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("this test needs Redis: sudo apt-get install --yes redis-server")
        words = [program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        words += ["--requirepass", "secret", "--dir", str(self._folder)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            for attempt in stamina.retry_context(
                on=redis.ConnectionError, attempts=None, timeout=START_SECONDS, wait_max=0.2
            ):
                with attempt:
                    client.ping()

    def stop(self) -> None:
        """Ends it; whoever asks is refused then."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
