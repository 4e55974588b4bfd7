"""The command that asks a model: infer."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import click
import numpy as np
from interlock.errors import InvalidArgument
from interlock.tensors import bf16_values
from interlock.types import Array, DType

from interlock_client import Client, InferResult
from interlock_client._infer import Inputs
from interlock_client._whole import written
from interlock_client.cli import printing, render
from interlock_client.cli.parse import Pair, PairType, tensor, unique
from interlock_client.cli.session import Session, output_option, server_address


@click.command()
@click.argument("ref")
@click.option(
    "--input",
    "inputs",
    type=PairType(),
    multiple=True,
    required=True,
    metavar="NAME=FILE.npy|JSON",
    help="An input: an .npy file, or a JSON literal such as '[[1, 2]]'. May be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the outputs to this .npz file.")
@output_option
@server_address
@click.pass_obj
def infer(session: Session, ref: str, inputs: Sequence[Pair], out: Path | None, output: str) -> None:
    """Ask a model for one answer; REF is MODEL, MODEL@3 or MODEL:ALIAS."""
    given = {name: tensor(name, text) for name, text in unique(inputs, "--input").items()}
    with session.open_client() as client:
        result = client.infer(ref, cast(Inputs, given))
        shown = _readable(client, result)
    if out is not None:
        save(out, result)
    if output == "json":
        printing.print_json(shown)
    else:
        printing.print_table(*render.answer(shown))


def _readable(client: Client, result: InferResult) -> InferResult:
    """Return the answer with BF16 outputs as numbers: nobody reads their bits."""
    if all(array.dtype != np.uint16 for array in result.values()):
        return result
    signature = client.metadata(f"{result.model}@{result.version}").signature
    narrow = {spec.name for spec in signature.outputs if spec.dtype is DType.BF16}
    outputs = {name: bf16_values(array) if name in narrow else array for name, array in result.items()}
    return dataclasses.replace(result, outputs=outputs)


def save(path: Path, result: InferResult) -> None:
    """Write the outputs, all or none, as an npz without pickle; BYTES outputs become fixed-width byte strings."""
    try:
        with written(path, overwrite=True) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in result.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, _storable(name, array), allow_pickle=False)
                archive.writestr(f"{name}.npy", buffer.getvalue())
    except OSError as error:
        raise InvalidArgument(f"{str(path)!r} cannot be written: {error.strerror}") from error


def _storable(name: str, array: Array) -> Array:
    if array.dtype != object:
        return array
    if any(item.endswith(b"\0") for item in array.ravel().tolist()):
        raise InvalidArgument(f"output {name!r} holds bytes that end in NUL, which an .npz cannot keep; use -o json")
    return array.astype(np.bytes_)
