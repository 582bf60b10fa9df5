"""What can be wrong with a training.

HostError
└── BadData    the table cannot be learned from: trying again will not help
"""

from hostkit.errors import HostError


class BadData(HostError):  # noqa: N818 (it names the thing, as Airflow shows it)
    """What is wrong with the data, where, and what to do: one sentence for who sent it."""
