"""The errors that a person is meant to read: no traceback, one exit code each.

HostError                  1  what was asked for could not be done
└── SettingsError         78  an env file, a variable or a credential is wrong (EX_CONFIG, sysexits)
"""


class HostError(Exception):
    """What is wrong, where, and what to do about it, in the words of its one argument."""

    exit_code = 1


class SettingsError(HostError):
    """Every mistake that was found in the settings, one a line.

    `warnings`: what looks like a mistake but may not be one; often it is the cause.
    """

    exit_code = 78

    def __init__(self, message: str, *, warnings: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.warnings = warnings
