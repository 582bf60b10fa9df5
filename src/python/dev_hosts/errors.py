"""What can go wrong with hosts on one's own machine.

DevError                 something is in the way; the message says what and how to get past it
├── BuildError          a PEX could not be built
├── HostDiedError           a host died or did not become healthy in time
└── JourneyError        training, promotion or prediction did not work
"""

from hostkit.errors import HostError


class DevError(HostError):
    """Something is in the way: a taken port, a full disk, a state folder in use."""


class BuildError(DevError):
    """A PEX could not be built."""


class HostDiedError(DevError):
    """A host died or did not become healthy in time; the message ends with its last log lines."""


class JourneyError(DevError):
    """Training, promotion or prediction did not work; the message says which and why."""
