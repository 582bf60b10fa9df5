"""What the command `serve` settles before the server is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api_host import cli

PROGRAM = f"""
from {cli.__package__} import cli, serve

def count(*_):
    import sklearn.ensemble
    from threadpoolctl import threadpool_info
    pools = {{pool["user_api"]: pool["num_threads"] for pool in threadpool_info()}}
    print(pools["blas"], pools["openmp"])

serve.serve = count
cli.main()
"""


@pytest.mark.parametrize(
    ("given", "threads"), [("", "1 1"), ("OMP_NUM_THREADS=2\nOPENBLAS_NUM_THREADS=2\n", "2 2")]
)
def test_a_call_of_a_model_takes_one_core_unless_the_env_file_says_more(
    tmp_path: Path, given: str, threads: str
) -> None:
    if (os.cpu_count() or 1) == 1:
        pytest.skip("this machine has one core: nothing takes more")
    (tmp_path / "env").write_text(given)
    command = (sys.executable, "-c", PROGRAM, "serve", "--env-file", str(tmp_path / "env"))
    process = subprocess.run(
        command,
        env={"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        capture_output=True,
        check=True,
        text=True,
    )
    assert process.stdout.split() == threads.split()
