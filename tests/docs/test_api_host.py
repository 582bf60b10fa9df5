"""docs/ says of the API host what is true."""

from api_host import problems
from api_host.app import ROUTES
from api_host.links import walks
from api_host.settings import ApiSettings
from hostkit.settings import load
from tests.docs.pages import (
    documented_paths,
    documented_problems,
    documented_settings,
    documented_steps,
    documented_walks,
)


def test_every_setting_is_documented_and_no_other() -> None:
    assert documented_settings("api-host") == list(ApiSettings.variables())


def test_every_path_is_documented_and_no_other() -> None:
    assert documented_paths() == {route.path for route in ROUTES}


def test_every_problem_is_documented_and_no_other() -> None:
    kinds = [kind for kind in vars(problems).values() if isinstance(kind, problems.Kind)]
    assert documented_problems() == {kind.type for kind in kinds}


def test_every_step_of_the_doctor_is_documented_and_no_other() -> None:
    found = walks(load(ApiSettings, environment={}))
    steps = {walk.name: [step.name for step in walk.steps] for walk in found}
    assert documented_walks("api-host") == steps


def test_every_step_of_any_doctor_is_explained_once() -> None:
    hosts = ("mlflow-host", "airflow-host", "api-host")
    walked = {step for host in hosts for steps in documented_walks(host).values() for step in steps}
    assert sorted(documented_steps()) == sorted(walked)
