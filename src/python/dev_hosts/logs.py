"""The logs of all hosts as one, each line behind the name of its process."""

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

POLL_SECONDS = 0.2
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")


def follow(logs: Mapping[str, Path], console: Console, check: Callable[[], None]) -> None:
    """Prints what is added to the logs from now on, for ever.

    `logs`: the log file of each process by its name.
    `check`: is called at each look, and ends this by what it raises.
    """
    width = max(len(name) for name in logs)
    files = {name: path.open(errors="replace") for name, path in logs.items()}
    try:
        for file in files.values():
            file.seek(0, 2)
        while True:
            check()
            for (name, file), colour in zip(files.items(), itertools.cycle(_COLOURS), strict=False):
                for line in file:
                    console.print(
                        Text(f"{name:{width}} ", style=colour) + Text(line.rstrip("\n")),
                        soft_wrap=True,
                    )
            time.sleep(POLL_SECONDS)
    finally:
        for file in files.values():
            file.close()
