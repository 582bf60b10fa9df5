"""What is wrong with a token.

HostError
└── BadTokenError           it is not accepted
    └── ExpiredTokenError   it was, until it expired
"""

from hostkit.errors import HostError


class BadTokenError(HostError):
    """Why a token is not accepted, in words that its bearer may see."""


class ExpiredTokenError(BadTokenError):
    """It was good."""
