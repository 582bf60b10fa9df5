"""Files of models that somebody made up: each is refused with a reason, and that is all."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import structlog.testing
import yaml  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KDTree
from sklearn.tree import DecisionTreeRegressor

from api_host.errors import ModelRefusedError
from api_host.models import soundness
from api_host.models.description import describe
from api_host.models.mlmodel import parse
from api_host.models.model import load
from api_host.settings import ApiSettings
from hostkit.errors import SettingsError
from hostkit.settings import load as load_settings
from tests.api_host.conftest import Start, iris, save, until, until_served
from tests.api_host.registry_server import RegistryServer
from tests.api_host.signed_models import Signer

MEBIBYTE = 1024 * 1024

LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
MERGES = "a0: &a0 {x: y}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"flavors: {sklearn: {pickled_model: [1]}}",
        b"flavors: !!python/object/apply:os.system ['true']",
        b"flavors: 2001-99-99",
        b"[" * 100_000,
        b"a: " * 100_000,
        b"x: " + b"1" * 5000 + b":1",
        LAUGHS.encode() + b"flavors: *a29",
        MERGES.encode(),
        b"#" * (3 * MEBIBYTE),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_an_mlmodel_file_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(ModelRefusedError, match="its MLmodel file"):
        describe(text)


@given(text=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_mlmodel_file_is_read_or_refused(text: bytes) -> None:
    try:
        assert describe(text).flavor.file
    except ModelRefusedError:
        return


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "..", "a/b", ""])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    told = {"sklearn": {"pickled_model": name, "serialization_format": "skops"}}
    with pytest.raises(ModelRefusedError, match="not in its own folder"):
        assert describe(json.dumps({"flavors": told}).encode()).flavor.file


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    which=st.sampled_from(["MLmodel", "model.skops", "input_example.json"]),
    place=st.integers(min_value=0),
    content=st.binary(max_size=20),
    cut=st.booleans(),
)
def test_a_spoiled_file_is_refused_or_changes_nothing_that_matters(
    models: Path, which: str, place: int, content: bytes, cut: bool
) -> None:
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        shutil.copytree(models / "linear", folder)
        file = folder / which
        text = bytearray(file.read_bytes())
        start = place % len(text)
        text[start : None if cut else start + len(content)] = content
        file.write_bytes(text)
        try:
            load(folder, compiles=False)
        except (ModelRefusedError, FileNotFoundError):
            return


def pack(folder: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Writes a model's file anew, with its checksums right."""
    file = folder / "model.skops"
    output = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    file.write_bytes(output.getvalue())


@pytest.mark.parametrize(
    "change",
    [
        lambda name, content: bytes(80 * MEBIBYTE) if name.endswith(".npy") else content,
        lambda name, content: b" " * 80 * MEBIBYTE + content if name == "schema.json" else content,
        lambda name, content: b"[" * MEBIBYTE if name == "schema.json" else content,
        lambda name, content: None if name == "schema.json" else content,
        lambda name, content: None if name.endswith(".npy") else content,
        lambda name, content: content[:-8] if name.endswith(".npy") else content,
    ],
    ids=["bomb", "bomb of text", "deep", "no schema", "no arrays", "short arrays"],
)
def test_a_file_that_is_whole_and_wrong_is_refused(
    models: Path, tmp_path: Path, change: Callable[[str, bytes], bytes | None]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models / "linear", folder)
    pack(folder, change)
    with pytest.raises(ModelRefusedError, match=r"model\.skops"):
        load(folder, compiles=False)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(member=st.integers(min_value=0), place=st.integers(min_value=0), byte=st.integers(0, 255))
def test_a_byte_of_a_forest_with_its_checksum_right_ends_no_process(
    models: Path, member: int, place: int, byte: int
) -> None:
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        shutil.copytree(models / "forest", folder)
        with zipfile.ZipFile(folder / "model.skops") as archive:
            names = archive.namelist()

        def spoil(name: str, content: bytes) -> bytes:
            text = bytearray(content)
            if name == names[member % len(names)]:
                text[place % len(text)] = byte
            return bytes(text)

        pack(folder, spoil)
        with suppress(ModelRefusedError):
            load(folder, compiles=False)


def tree(change: Callable[[np.ndarray], None]) -> DecisionTreeRegressor:
    """A tree whose nodes were changed, as a file may say."""
    x = np.arange(100.0).reshape(-1, 2)
    model = DecisionTreeRegressor(max_depth=3).fit(x, np.arange(50.0))
    state = model.tree_.__getstate__()
    nodes = state["nodes"].copy()
    change(nodes)
    model.tree_.__setstate__({**state, "nodes": nodes})
    return model


def put(field: str, value: int) -> Callable[[np.ndarray], None]:
    def change(nodes: np.ndarray) -> None:
        nodes[field][0] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("left_child", 10_000_000), "leads out of itself"),
        (put("right_child", -5), "leads out of itself"),
        (put("left_child", 0), "has a circle"),
        (put("feature", 2), "leads out of itself"),
        (put("feature", -2), "leads out of itself"),
    ],
)
def test_a_tree_that_leads_nowhere_is_refused(
    change: Callable[[np.ndarray], None], reason: str
) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        soundness.check(tree(change))
    with pytest.raises(ModelRefusedError, match=reason):
        soundness.check({"steps": [("tree", np.array([tree(change)], dtype=object))]})


def test_a_boosting_whose_nodes_lead_nowhere_is_refused() -> None:
    x = np.arange(400.0).reshape(-1, 2)
    model = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=5).fit(x, x[:, 0])
    soundness.check(model)
    vars(model)["_predictors"][1][0].nodes["left"][0] = 10_000
    with pytest.raises(ModelRefusedError, match="leads out of itself"):
        soundness.check(model)


def test_neighbours_that_are_not_there_are_refused() -> None:
    found = KDTree(np.arange(100.0).reshape(-1, 2))
    soundness.check(found)
    np.asarray(found.get_arrays()[1])[0] = 1000
    with pytest.raises(ModelRefusedError, match="leads out of itself"):
        soundness.check(found)


def test_models_that_are_well_are_taken(models: Path) -> None:
    x = np.arange(100.0).reshape(-1, 2)
    soundness.check(GradientBoostingRegressor(n_estimators=3).fit(x, x[:, 0]))
    for name in ("linear", "forest", "mixed", "array"):
        load(models / name, compiles=False)


def test_what_mlflow_writes_is_read_as_before(models: Path) -> None:
    text = (models / "forest/MLmodel").read_bytes()
    assert parse(text) == yaml.safe_load(text)


class Spy:
    """Runs code when it is loaded: it makes a file."""

    def __init__(self, made: Path) -> None:
        self._made = made

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self._made,)


@pytest.mark.parametrize("form", ["pickle", "cloudpickle"])
def test_a_pickle_runs_no_code_unless_it_is_allowed(
    models: Path, tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models / "linear", folder)
    described = folder / "MLmodel"
    described.write_text(described.read_text().replace("format: skops", f"format: {form}"))
    (folder / "model.skops").write_bytes(pickle.dumps(Spy(tmp_path / "it ran")))
    with pytest.raises(ModelRefusedError, match=f"its format is {form}, .* MODEL_ALLOW_PICKLE"):
        load(folder)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["pickle", "cloudpickle"])
async def test_a_pickle_is_served_where_an_operator_names_the_model(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path, form: str
) -> None:
    x, y = iris()
    model = LogisticRegression(max_iter=1000).fit(x, y)
    registry.promote("iris", save(model, tmp_path / "model", x, serialization_format=form))
    structlog.reset_defaults()
    allowed = settings.model_copy(update={"model_allow_pickle": ("iris",)})
    with structlog.testing.capture_logs() as lines:
        async with start(allowed) as api:
            await until_served(api, "1")
    assert ("model.unpickle", "model:iris/1") in {
        (line.get("action"), line.get("on")) for line in lines
    }
    assert "MODEL_ALLOW_PICKLE lets a model's file run code" in {line["event"] for line in lines}


@pytest.mark.anyio
async def test_a_pickle_needs_its_signature_all_the_same(
    registry: RegistryServer, settings: ApiSettings, start: Start, tmp_path: Path, models: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models / "linear", folder)
    described = folder / "MLmodel"
    described.write_text(described.read_text().replace("format: skops", "format: pickle"))
    (folder / "model.skops").write_bytes(pickle.dumps(Spy(tmp_path / "it ran")))
    registry.promote("iris", folder)
    signed = settings.model_copy(
        update={
            "model_allow_pickle": ("iris",),
            "model_public_keys": (Signer(tmp_path).public,),
        }
    )
    async with start(signed) as api:

        async def is_refused() -> bool:
            [model] = (await api.get("/v1/models")).json()["models"] or [{"problem": None}]
            return "it has no signature" in (model["problem"] or "")

        await until(is_refused)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("text", ["yes", "churn,True", "*", "all"])
def test_a_pickle_is_allowed_by_name_only(text: str) -> None:
    with pytest.raises(SettingsError, match="it must name the models whose pickles you trust"):
        load_settings(ApiSettings, environment={"MODEL_ALLOW_PICKLE": text})


@pytest.mark.anyio
async def test_the_follower_goes_on_after_each_of_them(
    registry: RegistryServer, settings: ApiSettings, start: Start, models: Path, tmp_path: Path
) -> None:
    registry.promote("iris", models / "linear")
    async with start(settings) as api:
        await until_served(api, "1")
        for number, text in enumerate((b"[" * 100_000, MERGES.encode(), b"#" * (3 * MEBIBYTE))):
            folder = tmp_path / str(number)
            shutil.copytree(models / "linear", folder)
            (folder / "MLmodel").write_bytes(text)
            version = registry.promote("iris", folder)

            async def is_refused(version: str = version) -> bool:
                [model] = (await api.get("/v1/models")).json()["models"]
                return f"version {version} is not served: its" in (model["problem"] or "")

            await until(is_refused)
        version = registry.promote("iris", models / "forest")
        await until_served(api, version)
