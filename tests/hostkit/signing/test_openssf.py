"""OpenSSF's own tool accepts our signatures, and refuses what we refuse."""

from pathlib import Path

import pytest
from model_signing.verifying import Config

from hostkit.signing.bundle import seal
from hostkit.signing.keys import make_key, public_text, read_private_key
from hostkit.signing.statement import SIGNATURE_FILE, Identity, Statement, digests


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model that is signed; the key is beside it."""
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / "model.skops").write_bytes(bytes(range(256)))
    (folder / "data/rows.json").write_text("[]")
    key = read_private_key(make_key())
    (tmp_path / "airflow.pub").write_text(public_text(key.public_key()))
    statement = Statement(Identity("iris", "run-1", "m-1"), digests(folder))
    (folder / SIGNATURE_FILE).write_bytes(seal(statement.encode(), key))
    return folder


def verify(model: Path) -> None:
    config = Config()  # type: ignore[no-untyped-call]
    config.use_elliptic_key_verifier(public_key=model.parent / "airflow.pub")
    config.verify(model, model / SIGNATURE_FILE)


def test_it_accepts_what_was_signed(model: Path) -> None:
    verify(model)


def test_it_refuses_a_changed_file(model: Path) -> None:
    (model / "data/rows.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"Hash mismatch for .*data/rows\.json"):
        verify(model)


def test_it_refuses_a_file_more(model: Path) -> None:
    (model / "evil.py").write_text("")
    with pytest.raises(ValueError, match="Extra files"):
        verify(model)


def test_it_refuses_another_key(model: Path) -> None:
    other = read_private_key(make_key()).public_key()
    (model.parent / "airflow.pub").write_text(public_text(other))
    with pytest.raises(ValueError, match="Key mismatch"):
        verify(model)
