"""The errors that a person is meant to read: no traceback, one exit code each.

HostError                  1  what was asked for could not be done
└── SettingsError         78  an env file, a variable or a credential is wrong (EX_CONFIG of sysexits.h)
"""


class HostError(Exception):
    """What is wrong, where, and what to do about it, in the words of its one argument."""

    exit_code = 1


class SettingsError(HostError):
    """Every mistake that was found in the settings, one a line."""

    exit_code = 78
