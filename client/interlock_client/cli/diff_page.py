"""How two versions differ, as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from interlock.diff import AnswerComparison, TensorStatus, VersionDiff
from interlock.model import Version

from interlock_client.cli.cells import moment, size
from interlock_client.cli.page import document, table
from interlock_client.cli.render_diff import answer, headline, sections, tensor, weight_facts

_LISTED: Final = 2_000
"""Tensors on the page; a browser that lays out tens of thousands of rows is no help."""


def page(found: VersionDiff) -> str:
    """Return a whole page; what strangers wrote is escaped."""
    old, new = found.before, found.after
    title = f"{old.model}: version {old.version} → {new.version}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">{escape(headline(found))}</p>',
        f'<div class="sides">{_side("before", old)}{_side("after", new)}</div>',
        _verdict(found),
    ]
    for name, changes in sections(found):
        parts.append(_section(name, ("what", "before", "after"), [(x.name, x.before, x.after) for x in changes]))
    operators = [(f"{x.domain}.{x.op_type}", str(x.count_before), str(x.count_after)) for x in found.operators]
    parts.append(_section("operators", ("operator", "before", "after"), operators))
    parts += [_weights(found), _tensors(found)]
    parts.append(_answers("golden samples of both, where the inputs are the same", found.golden))
    parts.append(_answers(f"golden samples of {old.version}, replayed by {new.version}", found.replayed))
    return document(title, parts)


def _side(label: str, version: Version) -> str:
    facts = (
        ("aliases", ", ".join(version.aliases) or "none"),
        ("state", version.state.value),
        ("proven", f"yes, {version.golden_samples} samples" if version.proven else "NO"),
        ("size", size(version.size_bytes)),
        ("registered", f"{moment(version.created_at)} by {version.created_by}"),
        ("artifact", version.digest),
    )
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return (
        f'<div class="side"><span class="dim">{escape(label)}</span><br>'
        f"<b>{escape(version.model)}@{version.version}</b><dl>{listed}</dl></div>"
    )


def _verdict(found: VersionDiff) -> str:
    ways = (
        (f"Serving {found.after.version} breaks callers of {found.before.version}", found.breaking),
        (f"Going back to {found.before.version} breaks callers of {found.after.version}", found.breaking_back),
    )
    broken = "".join(
        f'<div class="verdict bad"><b>{escape(what)}</b><ul>{_items(why)}</ul></div>' for what, why in ways if why
    )
    return broken or '<div class="verdict good">Callers of either can be served by the other.</div>'


def _items(texts: Iterable[str]) -> str:
    return "".join(f"<li>{escape(text)}</li>" for text in texts)


def _weights(found: VersionDiff) -> str:
    if not found.tensor_counts:
        return "<h2>weights</h2><p>The registry lists none of these versions' tensors.</p>"
    disk = found.disk
    share = disk.shared_bytes / disk.after_bytes if disk.after_bytes else 0.0
    rows = [(name, str(value)) for name, value in weight_facts(found)]
    return (
        f"<h2>weights</h2>{_table(('', ''), rows)}"
        f'<div class="bar" role="img" aria-label="{share:.0%} of the bytes are shared">'
        f'<span style="width:{share:.2%}"></span></div>'
        f'<p class="dim">{share:.1%} of the second version\'s bytes are those of the first.</p>'
    )


def _tensors(found: VersionDiff) -> str:
    shown = [each for each in found.tensors if each.status is not TensorStatus.SHARED][:_LISTED]
    shared = [each.name for each in found.tensors if each.status is TensorStatus.SHARED][:_LISTED]
    columns = ("tensor", "what", "before", "after", "elements that differ", "largest", "relative L2")
    parts = [_section("tensors that differ", columns, list(map(tensor, shown)))]
    if shared:
        names = " ".join(f"<code>{escape(name)}</code>" for name in shared)
        parts.append(f"<details><summary>tensors that both share</summary><p>{names}</p></details>")
    listed = len(shown) + len(shared)
    left_out = sum(each.tensors for each in found.tensor_counts) - listed
    if left_out:
        parts.append(f'<p class="dim">{left_out} more tensors are not on this page.</p>')
    return "".join(parts)


def _answers(title: str, found: AnswerComparison) -> str:
    if not found.outputs:
        return f'<h2>{escape(title)}</h2><p class="dim">Not compared: {escape(found.why)}.</p>'
    columns = ("output", "rows", "differ", "largest", "relative L2", "same top", "tolerance", "before", "after")
    note = f"{found.samples} compared{f' ({found.why})' if found.why else ''}; the last columns are their first values."
    rows = [answer(each) for each in found.outputs]
    return f'<h2>{escape(title)}</h2><p class="dim">{escape(note)}</p>{_table(columns, rows)}'


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"<h2>{escape(title)}</h2>{_table(columns, rows)}" if rows else ""


_NUMBERS: Final = frozenset({"rows", "differ", "largest", "relative L2", "same top", "elements that differ"})


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(columns, rows, _NUMBERS)
