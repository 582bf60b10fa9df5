"""What the API host tells of itself to the commands that all hosts have."""

from api_host.links import walks
from api_host.settings import ApiSettings
from hostkit.definition import Contents, Definition
from hostkit.settings import Loaded


def _contents(_: Loaded[ApiSettings]) -> Contents:
    return Contents()  # The models on its disk are copies: it downloads them again.


DEFINITION = Definition(
    settings=ApiSettings,
    distributions=("scikit-learn", "skops", "starlette", "hypercorn"),
    unit="api-host.service",
    contents=_contents,
    walks=walks,
    address=("API_HOST", "API_PORT"),
)
