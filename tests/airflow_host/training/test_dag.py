"""The DAG itself, as Airflow runs it."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import airflow_host

SECONDS = 300


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    dags = Path(airflow_host.__file__).parent / "dags"
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        # Nobody is there: bad data is found out before anybody is asked.
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MODEL_SIGNING_KEY_FILE": "/nowhere/key",
    }


def run(environment: dict[str, str], *arguments: str, ends_with: int = 0) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == ends_with, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_parsing_imports_nothing_that_takes_long(environment: dict[str, str]) -> None:
    code = (
        "import json, sys\n"
        "import airflow_host.dags.train_model\n"
        "heavy = {'fastparquet', 'matplotlib', 'mlflow', 'pandas', 'skops', 'sklearn'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))\n"
    )

    assert json.loads(run(environment, "-c", code)) == []


def test_what_it_takes_is_checked_as_the_api_checks_it(environment: dict[str, str]) -> None:
    code = (
        "import json\n"
        "from airflow.sdk.exceptions import ParamValidationError\n"
        "from airflow_host.dags.train_model import PARAMS\n"
        "from airflow.sdk.definitions.param import ParamsDict\n"
        "from tests.hostile_orders import INERT, REFUSED\n"
        "right = [{}, {'margin': 0}, {'margin': 0.5}, {'model_name': 'my model-2.0'},\n"
        "         {'data_uri': 's3://b/t', 'target': 't', 'request_id': '~{%}!'}, *INERT]\n"
        "wrong = [{name: value} for name in REFUSED for value in REFUSED[name]]\n"
        "wrong += [{'request_id': 'a b'}, {'request_id': 'a\\n'}, {'request_id': 'x' * 129}]\n"
        "def fits(given):\n"
        "    params = ParamsDict(PARAMS)\n"
        "    try:\n"
        "        params.update(given)\n"
        "        params.validate()\n"
        "    except ParamValidationError:\n"
        "        return False\n"
        "    return True\n"
        "print(json.dumps([[str(one)[:100] for one in right if not fits(one)],\n"
        "                  [str(one)[:100] for one in wrong if fits(one)]]))\n"
    )

    assert json.loads(run(environment, "-c", code)) == [[], []]


def test_bad_data_ends_it_at_once_with_a_sentence(
    environment: dict[str, str], tmp_path: Path
) -> None:
    run(environment, "-m", "airflow", "db", "migrate")
    # A template, a command and a path: if one were more than a name, the sentence would tell.
    target = "{{ 7 * 7 }}$(id)../x"
    conf = json.dumps({"target": target, "request_id": "request-1"})
    test = ("-m", "airflow", "dags", "test", "train_model", "--conf", conf)
    log = run(environment, *test, ends_with=1)

    with closing(sqlite3.connect(tmp_path / "airflow.db")) as database:
        told = database.execute("SELECT task_id, value FROM xcom WHERE key = 'problem'").fetchall()
        tried = database.execute(
            "SELECT state, try_number FROM task_instance WHERE task_id = 'read_table'"
        ).fetchall()
    assert tried == [("failed", 1)], log
    assert len(told) == 1, log
    ((task, problem),) = told
    assert task == "read_table"
    assert json.loads(problem) == (
        f"{tmp_path}/training/iris.csv has no column {target!r}: there are sepal_length,"
        " sepal_width, petal_length, petal_width, species"
    )
    assert json.loads(problem) in log
    assert "DeprecatedImportWarning" not in log
