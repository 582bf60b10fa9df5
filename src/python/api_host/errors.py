"""What can go wrong with the other servers and with a model. The message is for a person.

HostError
└── ApiError
    ├── RegistryAwayError     MLflow does not answer, or answers nonsense: try again later
    ├── NotRegisteredError    MLflow has no such model, version or alias
    ├── ModelRefusedError     a model that this host does not load: it needs another model
    │   └── ModelNotTrustedError  it is not what a trusted key has signed
    ├── NoRoomError           this host's disk has no room for a model: try again later
    ├── AirflowAwayError      Airflow does not answer, or refuses us: try again later
    └── AirflowRefusedError   Airflow does not take what the caller asks for
"""

from hostkit.errors import HostError


class ApiError(HostError):
    """Base of this host's errors."""


class RegistryAwayError(ApiError):
    """MLflow does not answer as it should; nothing is wrong with the model."""


class NotRegisteredError(ApiError):
    """The registry answers, and has no such thing."""


class ModelRefusedError(ApiError):
    """A model that will not be served, however often one tries."""


class ModelNotTrustedError(ModelRefusedError):
    """A model whose files are not what a trusted key has signed."""


class NoRoomError(ApiError):
    """The disk of this host is too full for a model; nothing is wrong with the model."""


class AirflowAwayError(ApiError):
    """Airflow does not answer as it should; nothing is wrong with the request."""


class AirflowRefusedError(ApiError):
    """Airflow understood and refused, for what the caller sent."""
