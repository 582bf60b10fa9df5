from hypothesis import given
from hypothesis import strategies as st

from hostkit.server import systemd

UNIT = """[Unit]
Description=LoadCredential=no

[Service]
LoadCredential=ONE:/etc/kettle-host/credentials/ONE
# LoadCredential=TWO:/no
LoadCredential = THREE : /x
"""


def test_the_credentials_of_a_unit_are_found() -> None:
    assert list(systemd.credentials_in(UNIT)) == ["ONE", "THREE"]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    list(systemd.credentials_in(text))


def test_units_are_told_from_drop_ins_and_other_files() -> None:
    folder = "usr/local/lib/systemd/system"
    paths = [
        f"{folder}/kettle-host.service",
        f"{folder}/kettle-host.service.d/10-hardening.conf",
        f"{folder}-generators/kettle-host-generator",
        "usr/local/bin/kettle-host",
    ]
    assert systemd.unit_names(paths) == ["kettle-host.service"]
