"""What was released of our .proto files is added to, never changed; and they keep to one style."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.compiled import FILES
from tests.meta.repository import ROOT, blocks

RELEASED = str(ROOT / "tools/released.binpb")
BUF = str(Path(sys.executable).with_name("buf"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The .proto files, to be spoilt."""
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    shutil.copytree(ROOT / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns("*.py*", "__pycache__"))
    return tmp_path


def buf(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_a_change_that_breaks_callers_is_found(copy: Path) -> None:
    unchanged = buf(copy, "breaking", "--against", RELEASED)
    assert (unchanged.returncode, unchanged.stdout) == (0, "")
    file = copy / "proto/interlock/v1/admin.proto"
    replace(file, "int64 version = 2;", "int64 version = 92;")
    replace(file, "rpc PinVersion(PinVersionRequest) returns (PinVersionResponse);", "")
    broken = buf(copy, "breaking", "--against", RELEASED)
    assert broken.returncode != 0
    assert '"PinVersion" on service "AdminService" was deleted' in broken.stdout
    assert 'Previously present field "2" with name "version"' in broken.stdout


def test_additions_and_the_workers_own_service_may_change(copy: Path) -> None:
    replace(copy / "proto/interlock/v1/admin.proto", "int64 version = 2;", "int64 version = 2;\n  string more = 99;")
    replace(copy / "proto/interlock/v1/worker.proto", "bool draining = 6;", "")
    assert buf(copy, "breaking", "--against", RELEASED).stdout == ""


def test_another_style_is_found(copy: Path) -> None:
    replace(copy / "proto/interlock/v1/admin.proto", "int64 version = 2;", "int64 theVersion = 2;")
    assert 'Field name "theVersion" should be lower_snake_case' in buf(copy, "lint").stdout


def test_the_guide_to_stubs_names_every_file_that_its_files_import() -> None:
    pages = (block.code for block in blocks("docs/guide/stubs.md"))
    lists = [named for code in pages if (named := set(re.findall(r"interlock/\w+/\w+\.proto", code)))]
    assert len(lists) == 2
    for named in (*lists, set(FILES)):
        imported = {
            each
            for file in named
            for each in re.findall(r'^import "(interlock/[^"]+)";', (ROOT / "proto" / file).read_text(), re.MULTILINE)
        }
        assert imported <= named
