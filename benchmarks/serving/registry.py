"""MLflow, running from its PEX, with the models that are compared."""

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving.models import Model
from benchmarks.serving.servers import Place
from dev_hosts.errors import DevError
from dev_hosts.hosts import Hosts
from dev_hosts.pexes import Pexes
from dev_hosts.ports import free_ports
from dev_hosts.process import kill_descendants
from dev_hosts.progress import Progress

TRAINING = Path("benchmarks/serving/training.py")
POLL_SECONDS = 0.2


@contextmanager
def registered(
    names: Sequence[str], settings: Mapping[str, str], keep: Path | None, progress: Progress
) -> Iterator[tuple[Place, list[Model]]]:
    """A registry that runs with these models in it, until the block ends; then nothing runs.

    `settings`: further lines of the API's env file.
    `keep`: the folder for logs and models; by default one that is removed at the end.
    """
    pexes = Pexes.within(Path("dist").resolve())
    with _state(keep) as state:
        try:
            with Hosts(state / "hosts", pexes, free_ports()) as hosts:
                hosts.start(progress, ["mlflow"])
                place = Place(state, pexes.api, hosts.urls["mlflow"], settings=settings)
                yield place, _train(place, pexes.mlflow, names, progress)
        finally:
            kill_descendants()


@contextmanager
def _state(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="tripod-serving-") as folder:
            yield Path(folder)
        return
    try:
        keep.mkdir(parents=True)
    except FileExistsError:
        raise DevError(f"{keep} is there already: name a new folder with --keep") from None
    yield keep.resolve()


def _train(place: Place, mlflow: Path, names: Sequence[str], progress: Progress) -> list[Model]:
    folder = place.state / "registered"
    folder.mkdir()
    log = folder / "log"
    with log.open("w") as output:
        training = subprocess.Popen(
            [mlflow, TRAINING, place.mlflow_url, folder, *names],
            env=place.variables(PEX_INTERPRETER="1"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while training.poll() is None:
            progress.waiting("training and registering the models")
            time.sleep(POLL_SECONDS)
    if training.returncode != 0:
        raise DevError(f"the models could not be trained: {log.read_text()[-2000:]}")
    progress.done(f"{len(names)} models are registered")
    return [Model.read(folder, name) for name in names]
