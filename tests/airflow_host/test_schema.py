from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_host.schema import SCHEMAS, State, revisions, state

CORE, FAB = (revisions(schema) for schema in SCHEMAS)


def older(known: frozenset[str], head: str) -> str:
    return min(known - {head})


OLD_CORE = older(CORE.known, CORE.head)
OLD_FAB = older(FAB.known, FAB.head)


@pytest.mark.parametrize(
    ("core", "fab", "expected"),
    [
        (None, None, State.EMPTY),
        (CORE.head, None, State.EMPTY),
        (None, FAB.head, State.EMPTY),
        (CORE.head, FAB.head, State.CURRENT),
        (OLD_CORE, FAB.head, State.OLDER),
        (OLD_CORE, None, State.OLDER),
        (CORE.head, OLD_FAB, State.OLDER),
        ("fffffffffff0", FAB.head, State.NEWER),
        (CORE.head, "fffffffffff0", State.NEWER),
        ("fffffffffff0", None, State.NEWER),
    ],
)
def test_both_schemas_count(
    tmp_path: Path, core: str | None, fab: str | None, expected: State
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/airflow.db", poolclass=sa.NullPool)
    with engine.begin() as connection:
        for schema, revision in zip(SCHEMAS, (core, fab), strict=True):
            if revision is not None:
                table = schema.version_table
                connection.execute(sa.text(f"CREATE TABLE {table} (version_num VARCHAR(32))"))
                connection.execute(sa.text(f"INSERT INTO {table} VALUES ('{revision}')"))
    assert state(engine) is expected


def test_a_release_knows_more_than_its_head() -> None:
    assert len(CORE.known) > 50
    assert CORE.head in CORE.known
    assert FAB.head in FAB.known
