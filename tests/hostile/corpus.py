"""All of it."""

from __future__ import annotations

from typing import Final

from tests.hostile import files, graphs, outside, types
from tests.hostile.cases import Case

CORPUS: Final[tuple[Case, ...]] = (*files.cases(), *outside.cases(), *graphs.cases(), *types.cases())
