"""Where a server may live: any directory name, any loopback address."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from interlock_registry.registry import Registry
from interlock_registry.sql import engine as engines

from tests.load import X
from tests.server import Server
from tests.system.stories import serve_two


@pytest.mark.sqlite
def test_a_data_directory_may_have_any_name(tmp_path: Path) -> None:
    name = "two words \u00e4, 100%20, #1 & what?mode=memory"
    data = tmp_path / "parent" / name
    data.parent.mkdir()
    with Server(data) as server:
        serve_two(server, tmp_path)
        server.kill_everything()
        server.start()
        with server.client() as client:
            assert client.infer("m", {"x": X}).version == 2
    assert (data / "registry.db").is_file()
    assert [path.name for path in data.parent.iterdir() if path.is_dir()] == [name], "nothing lies elsewhere"


@pytest.mark.parametrize("host", ["localhost", "::1"])
def test_every_loopback_address_serves_all_three_ports(tmp_path: Path, host: str) -> None:
    with Server(tmp_path / "data", "--host", host) as server:
        assert server.status().ready
        with server.client() as client:
            assert client.server_ready()
        with urllib.request.urlopen(f"http://{server.http}/healthz", timeout=60) as response:
            assert response.status == 200


@pytest.mark.sqlite
def test_a_backup_before_a_migration_finds_a_database_with_any_name(tmp_path: Path) -> None:
    database = tmp_path / "100% sure?" / "registry.db"
    database.parent.mkdir()
    url = f"sqlite:///{quote(str(database))}"
    Registry.open(url).close()
    opened = engines.open_engine(url)
    engines.back_up(opened, tmp_path / "copy.db")
    opened.dispose()
    copied = Registry.open(f"sqlite:///{tmp_path / 'copy.db'}")
    assert copied.verify_chain().is_whole
    copied.close()
