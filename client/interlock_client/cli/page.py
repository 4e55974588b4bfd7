"""Pages of one file that need nothing else: no scripts, no fonts, no network. What strangers wrote is escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from typing import Final

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may do with a page: should what a stranger wrote ever get through as HTML, nothing comes of it."""
_STYLE: Final = """
:root { color-scheme: light dark; --line: #d5d9e0; --dim: #5b6472; --bad: #b3261e; --good: #1b6e3c; --bar: #4a7bd0;
  --head: #f3f5f8; --c0: #1f6feb; --c1: #d9480f; --c2: #1b7f4b; --c3: #8250df; --c4: #b7791f; --c5: #0e7490; }
@media (prefers-color-scheme: dark) { :root { --line: #3a414d; --dim: #9aa4b2; --bad: #ff8a80; --good: #7bd8a0;
  --bar: #7aa5ef; --head: #20252e; --c0: #6cb0ff; --c1: #ff9a5c; --c2: #5fd08f; --c3: #c297ff; --c4: #e8bd62;
  --c5: #58c7dc; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.dim { color: var(--dim); } .bad { color: var(--bad); } .good { color: var(--good); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--dim); font-weight: 600; white-space: nowrap; }
td { overflow-wrap: anywhere; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
th:first-child, td:first-child { width: 26%; }
.many td { overflow-wrap: normal; }
code { font-family: ui-monospace, monospace; font-size: .85em; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; margin: 1.2rem 0; }
.side { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; background: var(--head); }
.side b { font-size: 1.05rem; }
.side dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .9rem; margin: .4rem 0 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
.verdict { border-left: 4px solid; padding: .5rem .9rem; margin: 1rem 0; background: var(--head); }
.bar { display: flex; height: .9rem; border-radius: .3rem; overflow: hidden; background: var(--line); margin: .5rem 0; }
.bar span { background: var(--bar); }
svg { width: 100%; height: auto; display: block; font: 11.5px system-ui, sans-serif; }
.grid { stroke: var(--line); } .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.tick { fill: var(--dim); text-anchor: middle; } .end { text-anchor: end; }
.key { display: inline-flex; align-items: center; gap: .4rem; margin-right: 1rem; font-size: .9rem; }
.key i { width: .8rem; height: 3px; border-radius: 2px; }
"""


_FEW: Final = 4
"""Columns of a table whose cells may be broken anywhere to fit a narrow page; one with more is scrolled."""


def document(title: str, parts: Iterable[str]) -> str:
    """Return a whole page of parts that are HTML already, without the empty ones."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str] = ()) -> str:
    """Return a table; the columns that `numbers` names stand to the right."""
    kinds = [' class="number"' if name in numbers else "" for name in columns]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(columns, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    top = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    many = ' class="many"' if len(columns) > _FEW else ""
    return f'<div class="wide"><table{many}>{top}<tbody>{body}</tbody></table></div>'
