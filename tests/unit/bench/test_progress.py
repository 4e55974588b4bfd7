from __future__ import annotations

import io

from rich.console import Console

from tests.progress import EVERY_S, progress


def test_where_there_is_no_terminal_a_line_comes_every_few_seconds() -> None:
    said, now = io.StringIO(), [100.0]
    with progress("storm", 30, "deeds", console=Console(file=said, width=40), clock=lambda: now[0]) as tell:
        for done in range(1, 31):
            now[0] += EVERY_S / 10
            tell(done)
    assert said.getvalue().splitlines() == [
        f"storm: {done} of 30 deeds, {done * EVERY_S / 10:.0f} s" for done in (10, 20, 30)
    ]


def test_on_a_terminal_there_is_a_bar() -> None:
    said = io.StringIO()
    with progress("storm", 30, "deeds", console=Console(file=said, force_terminal=True, width=80)) as tell:
        tell(12)
    assert "storm" in said.getvalue() and "12/30" in said.getvalue()
