"""What follows from what the api-server says of a component."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_host.components import Component
from airflow_host.watcher import Watch, ask

COMPONENTS = ("scheduler", "dag-processor", "triggerer")


def health(status: str | None, beat: str | None, database: str = "healthy") -> dict[str, Any]:
    state: dict[str, Any] = {"metadatabase": {"status": database}}
    for key in ("scheduler", "dag_processor", "triggerer"):
        state[key] = {"status": status, f"latest_{key}_heartbeat": beat}
    return state


def words(messages: list[str]) -> set[str]:
    return {message.partition("=")[0] for message in messages} - {"STATUS"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_heartbeat_of_a_predecessor_makes_nobody_ready(component: str) -> None:
    watch = Watch(component)
    assert not words(watch.messages(health("healthy", "1")))
    assert not words(watch.messages(health("healthy", "1")))
    assert words(watch.messages(health("healthy", "2"))) == {"READY"}
    assert words(watch.messages(health("healthy", "2"))) == {"WATCHDOG"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_first_heartbeat_of_all_makes_it_ready(component: str) -> None:
    watch = Watch(component)
    assert not words(watch.messages(health(None, None)))
    assert words(watch.messages(health("healthy", "1"))) == {"READY"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_that_hangs_is_not_fed(component: str) -> None:
    watch = Watch(component)
    watch.messages(health(None, None))
    watch.messages(health("healthy", "1"))
    assert watch.messages(health("unhealthy", "1")) == ["STATUS=no heartbeat since 1"]
    assert words(watch.messages(health("healthy", "2"))) == {"WATCHDOG"}


@pytest.mark.parametrize("component", COMPONENTS)
@given(others=st.lists(st.sampled_from([None, health("unhealthy", "1", database="unhealthy")])))
def test_a_component_is_not_blamed_for_the_api_server_or_the_database(
    component: str, others: list[dict[str, Any] | None]
) -> None:
    watch = Watch(component)
    assert all(words(watch.messages(other)) == {"EXTEND_TIMEOUT_USEC"} for other in others)
    watch.messages(health("healthy", "1"))
    watch.messages(health("healthy", "2"))
    assert all(words(watch.messages(other)) == {"WATCHDOG"} for other in others)


def test_an_api_server_that_does_not_answer_is_not_fed() -> None:
    watch = Watch(Component.API_SERVER)
    assert watch.messages(None) == []
    assert words(watch.messages(health(None, None))) == {"READY"}
    assert words(watch.messages(health("unhealthy", "1", database="unhealthy"))) == {"WATCHDOG"}
    assert watch.messages(None) == []


def test_nobody_answers_where_nothing_listens() -> None:
    assert ask("http://127.0.0.1:1") is None
    assert ask("http://[::1]:1") is None
