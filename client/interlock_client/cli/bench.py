"""The command that puts load on a model: bench."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from interlock.types import ModelRef
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from interlock_client.bench.plan import Arrivals, Load
from interlock_client.bench.result import BenchResult
from interlock_client.bench.run import Progress, Settings, run
from interlock_client.cli import printing, render_bench
from interlock_client.cli.bench_page import page
from interlock_client.cli.parse import Pair, PairType, tensor, unique
from interlock_client.cli.session import Session, output_option, server_address

_DEFAULT = (1, 8, 32)
_MOST_IN_FLIGHT = 4096


class Numbers(click.ParamType[Sequence[float]]):
    """Numbers with commas between them, each above 0."""

    name = "N,..."

    def __init__(self, *, whole: bool, most: float = math.inf) -> None:
        self._whole = whole
        self._most = most

    def convert(
        self, value: str | Sequence[float], param: click.Parameter | None, ctx: click.Context | None
    ) -> Sequence[float]:
        """Read them."""
        if not isinstance(value, str):
            return value
        try:
            found = [int(part) if self._whole else float(part) for part in value.split(",")]
        except ValueError:
            found = []
        if not found or not all(0 < each <= self._most and math.isfinite(each) for each in found):
            kind = "whole numbers" if self._whole else "numbers"
            limit = "" if self._most == math.inf else f" and up to {self._most:g}"
            self.fail(f"{value!r} is not one or more {kind} above 0{limit}, such as 8 or 1,8,32", param, ctx)
        return found


@click.command()
@click.argument("ref")
@click.option(
    "--concurrency",
    type=Numbers(whole=True, most=_MOST_IN_FLIGHT),
    metavar="N,...",
    help="Closed loop: requests in flight, one load after the other.  [default: 1,8,32]",
)
@click.option(
    "--rate",
    type=Numbers(whole=False),
    metavar="R,...",
    help="Open loop instead: requests a second; latency counts from when each was due.",
)
@click.option(
    "--arrivals",
    type=click.Choice([each.value for each in Arrivals]),
    default=Arrivals.POISSON.value,
    show_default=True,
    help="How an open loop's requests lie in time.",
)
@click.option("--duration", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Seconds of each load.")
@click.option(
    "--warmup", type=click.FloatRange(0), default=1.0, show_default=True, help="Seconds before it, uncounted."
)
@click.option(
    "--input",
    "inputs",
    type=PairType(),
    multiple=True,
    metavar="NAME=FILE.npy|JSON",
    help="An input, as for `interlock infer`; what is not given is drawn at random. May be repeated.",
)
@click.option(
    "--shape",
    "shapes",
    type=PairType(),
    multiple=True,
    metavar="NAME=D1,D2,...",
    help="Sizes to draw an input with, the batch included. May be repeated.",
)
@click.option("--batch", type=click.IntRange(1), help="Rows of a request, where the model has a batch.  [default: 1]")
@click.option("--timeout", type=click.FloatRange(0.001), default=10.0, show_default=True, help="Seconds for a request.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes of the load.")
@click.option("--connections", type=click.IntRange(1, 256), default=1, show_default=True, help="For each process.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is random.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots.")
@output_option
@server_address
@click.pass_obj
def bench(
    session: Session,
    ref: str,
    concurrency: Sequence[float] | None,
    rate: Sequence[float] | None,
    arrivals: str,
    duration: float,
    warmup: float,
    inputs: Sequence[Pair],
    shapes: Sequence[Pair],
    batch: int | None,
    timeout: float,
    processes: int,
    connections: int,
    seed: int,
    html: Path | None,
    output: str,
) -> int:
    """Put load on a model and measure it; REF is MODEL, MODEL@3 or MODEL:ALIAS.

    Exits with 1 where not one request was answered.
    """
    if concurrency is not None and rate is not None:
        raise click.UsageError("--concurrency is a closed loop and --rate an open one: give one of them")
    if rate is not None:
        loads = [Load(rate=each, arrivals=Arrivals(arrivals)) for each in rate]
    else:
        loads = [Load(int(each)) for each in concurrency or _DEFAULT]
    settings = Settings(
        ref=ModelRef.parse(ref),
        address=session.server,
        loads=loads,
        given={name: tensor(name, text) for name, text in unique(inputs, "--input").items()},
        shapes={name: _sizes(name, text) for name, text in unique(shapes, "--shape").items()},
        batch=batch,
        duration_s=duration,
        warmup_s=warmup,
        timeout_s=timeout,
        processes=processes,
        connections=connections,
        seed=seed,
        tls=session.tls_in_use(),
        token=session.token(),
    )
    with _bar() as progress:
        found = run(settings, progress)
    if html is not None:
        printing.write_text(html, page(found))
        printing.print_note(f"wrote {html}")
    if output == "json":
        printing.print_json(found)
    else:
        printing.print_table(*render_bench.bench(found))
    return _exit_code(found)


def _sizes(name: str, text: str) -> Sequence[int]:
    parts = text.split(",") if text else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise click.BadParameter(
            f"{text!r} are no sizes of {name!r}; write whole numbers, such as {name}=1,128", param_hint="--shape"
        )
    return [int(part) for part in parts]


def _exit_code(found: BenchResult) -> int:
    if any(each.answered for each in found.loads):
        return 0
    reasons = sorted({f"{x.status}: {x.message}" for each in found.loads for x in each.failures})
    requests = sum(each.requests for each in found.loads)
    raise click.ClickException(
        f"not one of {requests} requests was answered: {'; '.join(reasons)[:500]}"
        if requests
        else "no request came due within the time; say more with --duration or --rate"
    )


@contextmanager
def _bar() -> Iterator[Progress]:
    """Show which load runs on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda load, over_s, whole_s: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} s of {task.total:.0f}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(load: Load, over_s: float, whole_s: float) -> None:
            bar.update(task, completed=over_s, total=whole_s, description=str(load))

        yield report
