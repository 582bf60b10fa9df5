"""Passwords, the audit table and the roles, each by itself."""

import pytest
from werkzeug.security import generate_password_hash

from mlflow_host.accounts import roles
from mlflow_host.accounts.audit import action_of
from mlflow_host.accounts.guard import MOST_FAILURES, SECONDS_OF_FAILURES, Failures
from mlflow_host.accounts.passwords import SECONDS_TO_TRUST, Account, Entry, Passwords


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Book:
    """Accounts in memory; counts how often it is asked."""

    def __init__(self) -> None:
        self.hashes: dict[str, str] = {}
        self.asked = 0

    def set(self, name: str, password: str) -> None:
        self.hashes[name] = generate_password_hash(password, method="pbkdf2:sha256:1")

    def find(self, name: str) -> Entry | None:
        self.asked += 1
        return Entry(Account(name), self.hashes[name]) if name in self.hashes else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book() -> Book:
    book = Book()
    book.set("ann", "right")
    return book


def test_a_right_password_is_known_for_a_second_without_asking(book: Book, clock: Clock) -> None:
    passwords = Passwords(book, clock)
    assert passwords.known("ann", "right") is None
    assert passwords.check("ann", "right") == Account("ann")
    asked = book.asked
    clock.now = SECONDS_TO_TRUST * 0.9
    assert passwords.known("ann", "right") == Account("ann")
    assert passwords.known("ann", "wrong") is None
    assert passwords.known("bob", "right") is None
    assert book.asked == asked
    clock.now = SECONDS_TO_TRUST
    assert passwords.known("ann", "right") is None
    assert passwords.recall("ann", "right") == (Account("ann"), True)


def test_after_a_change_the_old_password_is_forgotten(book: Book, clock: Clock) -> None:
    passwords = Passwords(book, clock)
    passwords.check("ann", "right")
    book.set("ann", "another")
    clock.now = SECONDS_TO_TRUST
    assert passwords.recall("ann", "right") == (None, False)
    assert not passwords.was_right("ann", "right")
    assert passwords.check("ann", "right") is None
    assert passwords.check("ann", "another") == Account("ann")


def test_the_same_wrong_password_is_hashed_once_until_the_account_changes(
    book: Book, clock: Clock
) -> None:
    passwords = Passwords(book, clock)
    assert passwords.recall("ann", "wrong") == (None, False)
    assert passwords.check("ann", "wrong") is None
    assert passwords.recall("ann", "wrong") == (None, True)
    book.set("ann", "wrong")
    assert passwords.recall("ann", "wrong") == (None, False)
    assert passwords.check("ann", "wrong") == Account("ann")


def test_an_account_that_is_gone_is_refused(book: Book, clock: Clock) -> None:
    passwords = Passwords(book, clock)
    passwords.check("ann", "right")
    del book.hashes["ann"]
    clock.now = SECONDS_TO_TRUST
    assert passwords.recall("ann", "right") == (None, False)
    assert passwords.check("ann", "right") is None


def test_an_address_that_guesses_waits(clock: Clock) -> None:
    failures = Failures(clock)
    for _ in range(MOST_FAILURES):
        assert failures.seconds_to_wait("10.0.0.9") == 0
        failures.add("10.0.0.9")
    assert failures.seconds_to_wait("10.0.0.9") == SECONDS_OF_FAILURES
    assert failures.seconds_to_wait("10.0.0.8") == 0
    clock.now = SECONDS_OF_FAILURES + 1
    assert failures.seconds_to_wait("10.0.0.9") == 0


@pytest.mark.parametrize(
    ("request_line", "action"),
    [
        ("POST /api/2.0/mlflow/registered-models/create", "model.create"),
        ("POST /ajax-api/2.0/mlflow/registered-models/alias", "model.alias-set"),
        ("DELETE /api/2.0/mlflow/registered-models/alias", "model.alias-remove"),
        ("POST /api/2.0/mlflow/model-versions/create", "version.create"),
        ("PATCH /api/2.0/mlflow/users/update-password", "user.update-password"),
        ("POST /api/3.0/mlflow/users/permissions/grant", "user.permissions-grant"),
        ("POST /api/3.0/mlflow/roles/assign", "role.assign"),
        ("POST /api/2.0/mlflow/webhooks", "webhook.create"),
        ("POST /api/2.0/mlflow/experiments/delete", "experiment.delete"),
        ("POST /api/2.0/mlflow/runs/delete", "run.delete"),
        ("DELETE /api/2.0/mlflow-artifacts/artifacts/1/x", "artifact.delete"),
        ("POST /api/2.0/mlflow/runs/log-batch", None),
        ("GET /api/2.0/mlflow/registered-models/get", None),
        ("POST /graphql", None),
    ],
)
def test_what_is_told_in_the_audit(request_line: str, action: str | None) -> None:
    assert action_of(*request_line.split()) == action


def test_roles_of_others_neither_limit_nor_add() -> None:
    assert roles.lets(frozenset({"data team"}), "POST", "/api/2.0/mlflow/experiments/create")
    both = frozenset({"data team", "reader"})
    assert not roles.lets(both, "POST", "/api/2.0/mlflow/experiments/create")
    assert roles.lets(both | {"writer"}, "POST", "/api/2.0/mlflow/experiments/create")
    assert roles.is_registered_only(frozenset({"api"}))
    assert not roles.is_registered_only(frozenset({"api", "reader"}))
