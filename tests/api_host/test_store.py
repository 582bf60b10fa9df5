"""Copies on disk: whole, or not there."""

import fcntl
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_host.models.registry import ModelVersion
from api_host.models.store import BrokenCopyError, Copy, Store
from hostkit.signing.statement import digests

names = st.text(
    st.characters(codec="utf-8", exclude_characters="/:\0"), min_size=1, max_size=40
).filter(lambda name: len(name.encode()) <= 60)


def version_of(name: str = "iris", number: int = 1, created: int = 7) -> ModelVersion:
    return ModelVersion(name, str(number), created, "run", {"accuracy": 0.9}, {"tag": "x"})


def add(store: Store, version: ModelVersion, content: bytes = b"model") -> Copy:
    with store.staging(version) as staging:
        (staging / "MLmodel").write_bytes(b"about it")
        (staging / "model.skops").write_bytes(content)
        return store.add(version, staging, digests(staging))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models", most=2)


@given(name=names, alias=names, content=st.binary(max_size=100))
def test_what_was_added_is_found_again(name: str, alias: str, content: bytes) -> None:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "models", most=2)
        version = version_of(name)
        assert store.find(version) is None
        copy = add(store, version, content)
        assert (copy.folder / "model.skops").read_bytes() == content
        store.remember(version, alias)
        assert Path(folder) / "models" in copy.folder.resolve().parents
        assert store.find(version) == copy
        assert list(Store(Path(folder) / "models", most=2).last_good(alias)) == [copy]
        assert list(store.last_good(f"{alias}-other")) == []


def test_a_block_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    def stop_in_the_middle() -> None:
        with store.staging(version_of()) as staging:
            (staging / "model.skops").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_in_the_middle()
    assert list((tmp_path / "models/iris").iterdir()) == []


@pytest.mark.parametrize("file", ["MLmodel", "model.skops", "copy.json"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"x"), Path.unlink])
def test_a_broken_copy_is_told_and_thrown_away(store: Store, file: str, damage: object) -> None:
    copy = add(store, version_of())
    store.remember(version_of(), "champion")
    assert callable(damage)
    damage(copy.folder / file)
    (broken,) = store.last_good("champion")
    assert isinstance(broken, BrokenCopyError)
    assert not copy.folder.exists()
    assert store.find(version_of()) is None
    assert add(store, version_of()) == copy


def test_the_same_copy_may_be_added_by_two_processes(store: Store) -> None:
    first = add(store, version_of(), b"same")
    assert add(store, version_of(), b"same") == first


def test_old_copies_go_but_never_the_one_that_serves(store: Store) -> None:
    add(store, version_of(number=1))
    store.remember(version_of(number=1), "champion")
    for number in range(2, 7):
        copy = add(store, version_of(number=number))
        os.utime(copy.folder, (number, number))
    left = {number for number in range(1, 7) if store.find(version_of(number=number))}
    assert left == {1, 4, 5, 6}


def test_downloads_that_nobody_finished_go_but_not_those_under_way(
    store: Store, tmp_path: Path
) -> None:
    abandoned = tmp_path / "models/iris/.new-abandoned"
    abandoned.mkdir(parents=True)
    under_way = tmp_path / "models/iris/.new-under-way"
    under_way.mkdir()
    lock = os.open(under_way, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    add(store, version_of())
    os.close(lock)
    assert not abandoned.exists()
    assert under_way.exists()


@given(problems=st.dictionaries(names, st.text(st.characters(codec="utf-8"))))
def test_why_models_are_not_served_is_read_back(problems: dict[str, str]) -> None:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "models", most=2)
        assert store.problems() is None
        store.keep_problems(problems)
        assert Store(Path(folder) / "models", most=2).problems() == problems
        assert list(store.last_good("champion")) == []


def test_problems_that_were_cut_off_are_none_that_are_known(store: Store, tmp_path: Path) -> None:
    store.keep_problems({"iris": "is gone"})
    file = tmp_path / "models/.problems.json"
    file.write_bytes(file.read_bytes()[:-3])
    assert store.problems() is None
