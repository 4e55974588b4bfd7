"""Results as tables and sentences."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np
from interlock.quantization import Form
from interlock.types import STABLE
from rich.console import RenderableType
from rich.table import Table

from interlock_client import (
    AliasAt,
    Approval,
    ChainReport,
    Event,
    InferResult,
    Model,
    Quantized,
    ReplicaStatus,
    ServableStatus,
    ServingConfig,
    Switch,
    Version,
)
from interlock_client.cli.cells import clean as _clean
from interlock_client.cli.cells import moment as _time
from interlock_client.cli.cells import pairs as _pairs
from interlock_client.cli.cells import rows as _rows
from interlock_client.cli.cells import size as _size

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def record(value: DataclassInstance) -> RenderableType:
    """Return any dataclass, field by field."""
    return _pairs((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))


def models(found: Sequence[Model]) -> RenderableType:
    """Return models as a table."""
    if not found:
        return "no models are registered; `interlock register MODEL FILE.onnx` adds one"
    rows = (
        (
            each.name,
            each.versions,
            each.newest or "-",
            ", ".join(f"{alias.alias} → {alias.version}" for alias in each.aliases) or "-",
            _time(each.created_at),
        )
        for each in found
    )
    return _rows(("model", "versions", "newest", "aliases", "created"), rows)


def versions(found: Sequence[Version]) -> RenderableType:
    """Return versions as a table."""
    rows = (
        (
            each.version,
            _state(each),
            _uses(each),
            _proven(each),
            _signed(each),
            _size(each.size_bytes),
            each.digest[:12],
            _time(each.created_at),
            each.created_by,
            each.note,
        )
        for each in found
    )
    return _rows(
        ("version", "state", "used by", "proven", "signed by", "size", "digest", "created", "by", "note"), rows
    )


def approvals(found: Sequence[Approval]) -> RenderableType:
    """Return approvals as a table."""
    if not found:
        return "nothing has been approved; `interlock approve MODEL VERSION --alias ALIAS` does that"
    rows = (
        (
            f"{each.model}:{each.alias}",
            each.version,
            each.state.value,
            each.approver,
            _time(each.given_at),
            _time(each.expires_at),
            each.digest[:12],
            each.reason,
        )
        for each in found
    )
    return _rows(("alias", "version", "state", "by", "given", "expires", "digest", "reason"), rows)


def _state(version: Version) -> str:
    return f"{version.state.value}, DAMAGED" if version.damage else version.state.value


def _uses(version: Version) -> str:
    return ", ".join((*version.aliases, *(("pin",) if version.pinned else ()))) or "-"


def _proven(version: Version) -> str:
    return f"yes, {version.golden_samples} samples" if version.proven else "NO"


def _signed(version: Version) -> str:
    return (
        ", ".join(f"{each.name or each.key}{' (NOT TRUSTED)' if each.fault else ''}" for each in version.signed_by)
        or "-"
    )


def _signatures(version: Version) -> str:
    return "\n".join(
        f"{each.name or 'unknown key'} ({each.key}), {_time(each.signed_at)} by {each.actor}"
        + (f", NOT TRUSTED: {each.fault}" if each.fault else "")
        for each in version.signed_by
    )


def version(each: Version, status: ReplicaStatus) -> RenderableType:
    """Return one version in full, and how the workers of a replica have it."""
    return _pairs(
        (
            ("version", f"{each.model}@{each.version}"),
            ("state", _state(each)),
            *((("damage", each.damage),) if each.damage else ()),
            ("used by", _uses(each)),
            ("proven", _proven(each)),
            ("loaded", "\n".join(_loaded(each, status)) or "no"),
            ("signed by", _signatures(each) or "nobody"),
            ("inputs", "\n".join(map(str, each.signature.inputs))),
            *((("optional", "\n".join(map(str, each.signature.optional))),) if each.signature.optional else ()),
            ("outputs", "\n".join(map(str, each.signature.outputs))),
            ("serving", _config(each.config)),
            ("size", _size(each.size_bytes)),
            ("digest", each.digest),
            ("created", f"{_time(each.created_at)} by {each.created_by}"),
            ("note", each.note or "-"),
            ("tags", ", ".join(f"{key}={value}" for key, value in sorted(each.tags.items())) or "-"),
            ("report", _report(each.report_json) or "-"),
        )
    )


def _loaded(version: Version, status: ReplicaStatus) -> Iterator[str]:
    for worker in status.workers:
        for each in worker.servables:
            if (each.model, each.version) == (version.model, version.version):
                why = f": {each.reason}" if each.reason else ""
                yield f"worker {worker.index}: {each.state.value}, {_load(each)}{why}"


def _load(servable: ServableStatus) -> str:
    source = f" from {servable.loaded_from.value.lower()}" if servable.loaded_from else ""
    return f"{servable.load_s * 1000:.0f} ms{source}"


def _report(text: str) -> str:
    """Return what was found out when a version was validated, a fact a line; its signature is shown already."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return text
    if not isinstance(found, dict):
        return text
    return "\n".join(f"{name} {_fact(value)}" for name, value in found.items() if name != "signature")


def _fact(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_fact(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(map(_fact, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _config(config: ServingConfig) -> str:
    return ", ".join(f"{field.name}={getattr(config, field.name)}" for field in dataclasses.fields(config))


def quantized(done: Quantized) -> Sequence[RenderableType]:
    """Return a new version in a narrower form, and how it compares with its parent."""
    version, report = done.version, done.report
    ratio = report.bytes / report.parent_bytes if report.parent_bytes else 1.0
    tolerance = f"|a-b| <= {report.tolerance.atol:.3g} + {report.tolerance.rtol:.3g}*|b|"
    facts = [
        ("registered", f"{version.model}@{version.version}, {report.form.value} of version {report.parent}"),
        ("size", f"{_size(report.parent_bytes)} → {_size(report.bytes)} ({ratio:.0%})"),
        ("run", f"{report.parent_run_s * 1e3:.3f} → {report.run_s * 1e3:.3f} ms (one thread, golden samples)"),
        ("converted", f"{report.converted} {'operators' if report.form is Form.INT8 else 'tensors'}"),
        ("proof", f"{report.samples} golden samples met within {tolerance}"),
        ("next", f"interlock promote {version.model} {version.version}"),
    ]
    columns = ("output", "max abs", "max rel", "rel L2", "same choice")
    rows = [
        (
            each.output,
            f"{each.max_abs:.3g}",
            f"{each.max_rel:.3g}",
            f"{each.rel_l2:.3g}",
            "" if each.argmax is None else f"{each.argmax:.1%}",
        )
        for each in report.outputs
    ]
    return _pairs(facts), _rows(columns, rows)


def switch(done: Switch) -> RenderableType:
    """Return the outcome of a promote or rollback as a sentence or a few."""
    if done.from_version == done.to_version:
        nothing = "would change" if done.dry_run else "was changed"
        lines = [f"{done.model}:{done.alias} is at version {done.to_version} already, so nothing {nothing}"]
    else:
        verb = "would move" if done.dry_run else "moved"
        start = f"from version {done.from_version} " if done.from_version else ""
        how = "was loaded already" if done.resident else f"prepared in {done.prepare_s:.2f} s"
        lines = [f"{done.model}:{done.alias} {verb} {start}to version {done.to_version} ({how})"]
        if not done.dry_run:
            lines[0] += f", committed in {done.commit_s * 1000:.1f} ms"
    if not done.dry_run:
        lines[0] += f", generation {done.generation}"
    if done.stack:
        alias = "" if done.alias == STABLE else f" --alias {done.alias}"
        lines.append(f"`interlock rollback {done.model}{alias}` goes back to version {done.stack[-1]}")
    if done.breaking:
        lines.append(f"breaks callers: {'; '.join(done.breaking)}")
    if done.late:
        lines.append(f"not served yet by {', '.join(done.late)}")
    if done.lagging:
        lines.append(f"not confirmed in time, restarted: {', '.join(done.lagging)}")
    return _clean("\n".join(lines))


_EVENT_COLUMNS: Final = ("seq", "time", "actor", "action", "model", "from", "to", "outcome", "reason")


def events(found: Sequence[Event], *, is_filtered: bool = False) -> RenderableType:
    """Return events as a table."""
    if not found:
        return "no event fits; `interlock log` shows all of them" if is_filtered else "nothing has happened yet"
    return _rows(_EVENT_COLUMNS, map(_event, found))


def _event(each: Event) -> tuple[object, ...]:
    return (
        each.seq,
        _time(each.time),
        each.actor,
        each.action,
        f"{each.model}:{each.alias}" if each.alias else each.model,
        each.from_version or "-",
        each.to_version or "-",
        each.outcome,
        _why(each),
    )


def _why(event: Event) -> str:
    """Say why it was done and, where it was refused, why that."""
    return "; ".join(text for text in (event.reason, event.detail) if text)


_EVENT_WIDTHS: Final = (6, 19, 24, 12, 24, 4, 4, 8, 0)


def event_lines(found: Sequence[Event], *, with_header: bool) -> list[str]:
    """Return events as lines of columns that stay where they are, for events that are still to come."""
    rows = [_EVENT_COLUMNS] if with_header else []
    cells = [*rows, *(tuple(" ".join(_clean(cell).split()) for cell in _event(each)) for each in found)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, _EVENT_WIDTHS, strict=True)) for row in cells]


def history(found: Sequence[AliasAt], when: datetime) -> RenderableType:
    """Return where the aliases pointed at a time."""
    if not found:
        return f"no alias existed at {_time(when)}"
    rows = (
        (each.model, each.alias, each.version, _time(each.since), each.action, each.actor, each.reason, each.seq)
        for each in found
    )
    return _rows(("model", "alias", "version", "since", "by", "actor", "reason", "seq"), rows)


def chain(report: ChainReport) -> RenderableType:
    """Return a whole chain as a sentence, and what to keep of it."""
    if not report.events:
        return "nothing has happened yet: there is nothing to verify"
    return (
        f"{report.events} events are whole: none was changed, removed, inserted or reordered\n"
        f"keep this, and a history written anew shows: --known {report.events}:{report.head}"
    )


def _threads(found: ReplicaStatus) -> str:
    """Say how many threads the workers' runs have; once where all have the same."""
    said = (f"{worker.threads} ({worker.threads_reason})" for worker in found.workers if worker.threads)
    return "; ".join(dict.fromkeys(said)) or "not known"


def status(found: ReplicaStatus) -> Sequence[RenderableType]:
    """Return a replica's status: facts, the fleet where there is one, servables, aliases."""
    fleet, servables, aliases = _fleet(found), _servables(found), _aliases(found)
    shown: list[RenderableType] = [_facts(found)]
    if fleet.row_count > 1:
        shown.append(fleet)
    if servables.row_count:
        shown.append(servables)
    shown += [
        f"worker {each.index} (pid {each.pid}) has nothing loaded" for each in found.workers if not each.servables
    ]
    if aliases.row_count:
        shown.append(aliases)
    return shown


def _facts(found: ReplicaStatus) -> RenderableType:
    return _pairs(
        (
            ("replica", f"{found.replica} (interlock {found.server_version})"),
            ("state", "ready" if found.ready else "NOT READY"),
            ("degraded", "; ".join(found.degraded) or "no"),
            ("epoch", found.epoch),
            ("threads", _threads(found)),
            ("inference", found.inference_address),
            ("http", found.http_address),
            ("admin", found.admin_address),
            ("sandbox", ", ".join(found.sandbox) or "none"),
        )
    )


def _servables(found: ReplicaStatus) -> Table:
    rows = (
        (
            worker.index if worker.reachable else f"{worker.index} (UNREACHABLE)",
            worker.pid,
            servable.provider or worker.provider,
            f"{servable.model}@{servable.version}",
            servable.state.value,
            servable.in_flight,
            _load(servable),
            servable.reason,
        )
        for worker in found.workers
        for servable in worker.servables
    )
    return _rows(("worker", "pid", "provider", "servable", "state", "in flight", "loaded", "reason"), rows)


def _fleet(found: ReplicaStatus) -> Table:
    rows = (
        (
            each.replica[:8] + (" (this one)" if each.replica == found.replica else ""),
            "LOST" if not each.live else "ready" if each.ready else "NOT READY",
            each.epoch,
            each.admin_address,
            each.inference_address,
            f"{each.silent_s:.1f} s ago",
        )
        for each in found.replicas
    )
    return _rows(("replica", "state", "epoch", "admin", "inference", "last heard of"), rows)


def _aliases(found: ReplicaStatus) -> Table:
    rows = (
        (
            f"{each.model}:{each.alias}",
            each.version,
            each.generation,
            " ".join(map(str, reversed(each.stack))) or "-",
            _time(each.updated_at),
        )
        for each in found.aliases
    )
    return _rows(("alias", "version", "generation", "stack", "since"), rows)


def answer(result: InferResult) -> Sequence[RenderableType]:
    """Return an inference result; long arrays are shortened."""
    by = f"{result.model}@{result.version}" + (f" ({result.alias})" if result.alias else "")
    run = f", run in {result.run_s * 1000:.2f} ms" if result.run_s is not None else ""
    rows = (
        (name, _dtype(array), list(array.shape), np.array2string(array, threshold=24, max_line_width=100))
        for name, array in result.items()
    )
    return [f"answered by {by}{run}", _rows(("output", "dtype", "shape", "values"), rows)]


def _dtype(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    return "bytes" if array.dtype == object else array.dtype.name
