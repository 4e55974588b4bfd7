"""The corpus of hostile models: each is refused for its reason. `make hostile` puts it before a whole server."""

from __future__ import annotations

from pathlib import Path

import pytest
from interlock.errors import InvalidModel
from interlock_registry.tool import SideFile, ValidateJob
from interlock_registry.tool.validation import validate

from tests.hostile.cases import Case
from tests.hostile.corpus import CORPUS


@pytest.mark.parametrize("case", [each for each in CORPUS if not each.is_wild], ids=lambda each: each.name)
def test_it_is_refused_for_its_reason(case: Case, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(case.make())
    sides = []
    for index, (location, content) in enumerate(case.files.items()):
        path = tmp_path / f"data-{index}"
        path.write_bytes(content)
        sides.append(SideFile(location, path))
    with pytest.raises(InvalidModel) as refused:
        validate(ValidateJob(model=model, files=tuple(sides)))
    assert case.words in refused.value.message
    assert str(tmp_path) not in refused.value.message and refused.value.message.isprintable()


def test_the_corpus_is_big_and_names_each_case_once() -> None:
    assert len({each.name for each in CORPUS}) == len(CORPUS) >= 40
