"""What can be wrong with a signature or a key.

HostError
├── KeyFileError        a key that cannot be used
└── BadSignatureError   files that are not what somebody trusted has signed
"""

from hostkit.errors import HostError


class KeyFileError(HostError):
    """A text that is no key, or not of the kind that signs models."""


class BadSignatureError(HostError):
    """What is wrong with a signature, or with the files that it is of."""
