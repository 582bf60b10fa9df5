"""docs/ says of the API host what is true."""

from api_host import problems
from api_host.app import ROUTES
from api_host.settings import ApiSettings
from tests.docs.pages import documented_paths, documented_problems, documented_settings


def test_every_setting_is_documented_and_no_other() -> None:
    assert documented_settings("api-host") == list(ApiSettings.variables())


def test_every_path_is_documented_and_no_other() -> None:
    assert documented_paths() == {route.path for route in ROUTES}


def test_every_problem_is_documented_and_no_other() -> None:
    kinds = [kind for kind in vars(problems).values() if isinstance(kind, problems.Kind)]
    assert documented_problems() == {kind.type for kind in kinds}
