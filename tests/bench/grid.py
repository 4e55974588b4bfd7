"""A table of figures, for a terminal and for a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure; `met` tells whether it keeps its target, None where it has none."""

    text: str
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows of figures under a title; the first `names` columns hold words."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1

    def table(self) -> Table:
        """Return it for a terminal: what keeps its target in green, what misses it in yellow."""
        colours = {None: "{}", True: "[green]{}[/green]", False: "[yellow]{}[/yellow]"}
        sketch = Table(title=self.title)
        for index, name in enumerate(self.header):
            sketch.add_column(name, justify="left" if index < self.names else "right")
        for row in self.rows:
            sketch.add_row(*(colours[cell.met].format(cell.text) for cell in row))
        return sketch

    def markdown(self) -> str:
        """Return it for a document: what misses its target in bold."""
        rule = ["---" if index < self.names else "---:" for index in range(len(self.header))]
        body = [[f"**{cell.text}**" if cell.met is False else cell.text for cell in row] for row in self.rows]
        lines = [[name.replace("\n", ", ") for name in self.header], rule, *body]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)
