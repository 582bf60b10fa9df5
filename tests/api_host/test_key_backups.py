"""Backups of the API host have its keys, and whoever restores them is told what came back."""

from pathlib import Path

import pytest

from api_host.auth.caller import Access
from api_host.auth.keys import Keyring
from api_host.auth.known import KnownKeys
from api_host.definition import DEFINITION
from api_host.settings import ApiSettings
from hostkit.server import backup, restore
from hostkit.server.layout import Layout
from hostkit.settings import Loaded, load
from tests.api_host.test_auth import make_key


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout("api-host", tmp_path)
    layout.configuration.mkdir(parents=True)
    keys = layout.configuration / "keys.json"
    layout.env_file.write_text(f"API_KEYS_FILE={keys}\n")
    return layout


@pytest.fixture
def loaded(layout: Layout) -> Loaded[ApiSettings]:
    return load(ApiSettings, env_file=layout.env_file, environment={})


def test_keys_come_back_with_a_warning_of_those_that_were_revoked(
    layout: Layout, loaded: Loaded[ApiSettings]
) -> None:
    file = loaded.settings.api_keys_file
    shop = make_key(file, "shop", Access.PREDICT)
    made = backup.create(DEFINITION, loaded, layout, layout.backups / "one")
    Keyring(file).revoke("shop")
    late = make_key(file, "late", Access.PREDICT)
    assert KnownKeys(file).find(shop) is None
    found = restore.open_backup(DEFINITION, made.folder)
    done = {item.what: item for item in restore.restore(DEFINITION, loaded, layout, found)}
    assert "revoked or rotated since is accepted again" in done["keys.json"].note
    assert "api-host keys list" in done["keys.json"].note
    assert KnownKeys(file).find(shop) is not None
    assert KnownKeys(file).find(late) is None
    assert file.stat().st_mode & 0o777 == 0o640
    assert KnownKeys(Path(done["keys.json"].kept)).find(late) is not None


def test_no_key_can_be_read_from_a_backup(layout: Layout, loaded: Loaded[ApiSettings]) -> None:
    text = make_key(loaded.settings.api_keys_file, "shop", Access.PREDICT)
    made = backup.create(DEFINITION, loaded, layout, layout.backups / "one")
    secret = text.rpartition("_")[2].encode()
    files = [path for path in made.folder.rglob("*") if path.is_file()]
    assert "keys.json" in {path.name for path in files}
    assert not any(secret in path.read_bytes() for path in files)
