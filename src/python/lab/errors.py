"""What can go wrong with a lab.

LabError                  what was asked for could not be done; the message says what to do
├── UnfitError            this machine cannot run a lab
├── DownError             the lab or one of its hosts is not running
├── CommandError          a command on a host failed; the message ends with what it printed
└── LateError             something did not happen in time
"""

from hostkit.errors import HostError


class LabError(HostError):
    """What was asked for could not be done."""


class UnfitError(LabError):
    """On this machine no lab can run."""


class DownError(LabError):
    """The lab or one of its hosts is not running."""


class CommandError(LabError):
    """A command on a host failed.

    `code`: its exit code.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class LateError(LabError):
    """Something did not happen in time."""
