"""The servers that one would use instead: each in an environment of its own, made once."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from dev_hosts.errors import DevError
from dev_hosts.progress import Progress

REQUIREMENTS = {
    "mlflow": Path("3rdparty/mlflow/lock.txt"),
    "mlserver": Path("benchmarks/serving/peers/mlserver.txt"),
    "bentoml": Path("benchmarks/serving/peers/bentoml.txt"),
}
"""What each is made of. MLflow is the one that our MLflow host is packed from."""

MEGABYTE = 10**6
POLL_SECONDS = 0.5


def cache() -> Path:
    """The folder of all environments."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tripod" / "serving"


def environment_of(peer: str, progress: Progress) -> Path:
    """The folder of a peer's environment; it is made where it is missing. Raises `DevError`."""
    requirements = REQUIREMENTS[peer]
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = cache() / f"{peer}-{digest}"
    if not folder.exists():
        _make(folder, requirements, progress)
    return folder


def _make(folder: Path, requirements: Path, progress: Progress) -> None:
    start = time.monotonic()
    making = folder.with_name(f"{folder.name}.{os.getpid()}")
    making.parent.mkdir(parents=True, exist_ok=True)
    log = making.with_suffix(".log")
    python = making / "bin" / "python"
    try:
        for command in (
            (sys.executable, "-m", "venv", str(making)),
            (str(python), "-m", "pip", "install", "--requirement", str(requirements)),
        ):
            _run(command, log, f"installing {requirements}", progress)
        # Scripts name their Python by its path, so a folder is not simply renamed.
        folder.symlink_to(making.name)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    size = sum(path.lstat().st_size for path in making.rglob("*")) / MEGABYTE
    progress.done(f"installed {requirements}, {size:.0f} MB", time.monotonic() - start)


def _run(command: tuple[str, ...], log: Path, what: str, progress: Progress) -> None:
    with log.open("ab") as output:
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while running.poll() is None:
                progress.waiting(what)
                time.sleep(POLL_SECONDS)
        finally:
            running.terminate()
            running.wait()
    if running.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise DevError(f"{what} failed; {log} ends with:\n{tail}")
