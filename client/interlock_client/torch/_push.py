"""`push`: export and register in one call from the training script."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.golden import Tolerance
from interlock.keys import Signer
from interlock.model import ServingConfig, Version
from interlock.types import Array, model_name

from interlock_client import Admin
from interlock_client.torch._example import Dynamic
from interlock_client.torch._export import DEFAULT_BATCH_SIZES, DEFAULT_OPSET, export

if TYPE_CHECKING:
    from torch import Tensor, nn


def push(
    model: nn.Module,
    name: str,
    inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    *,
    admin: str | Admin | None = None,
    promote: bool = False,
    allow_breaking: bool = False,
    note: str = "",
    tags: Mapping[str, str] | None = None,
    config: ServingConfig | None = None,
    sign: str | Path | Signer | None = None,
    output_names: Sequence[str] | None = None,
    dynamic: Dynamic | None = None,
    samples: Sequence[Mapping[str, Array]] = (),
    tolerances: Mapping[str, Tolerance] | None = None,
    batch_sizes: Sequence[int] = DEFAULT_BATCH_SIZES,
    sizes: Mapping[str, Sequence[int]] | None = None,
    opset: int = DEFAULT_OPSET,
) -> Version:
    """Export a module, register it as the next version of `name`, and promote that where asked; return the version.

    Args:
        model: a module in eval mode.
        name: the model's name in the registry; made on first use.
        inputs: example inputs, as `export` takes them.
        admin: an admin client, or the admin address of a server; INTERLOCK_ADMIN where it is not given.
        promote: also make it what the alias `stable` serves.
        allow_breaking: promote it although its signature breaks callers of what `stable` serves.
        note: free text, kept with the version.
        tags: more facts to keep with the version, such as the commit and the data that it was trained on.
        config: how it is served; the server's defaults where it is not given.
        sign: the file of a private key, or what signs with one, as `Admin.register` takes it.
        output_names: as for `export`, like all that follow.
        dynamic: by input, axis → symbol.
        samples: more real inputs by name.
        tolerances: by provider.
        batch_sizes: batches that are compared.
        sizes: by symbol, the sizes at which other dynamic dimensions are compared.
        opset: the ONNX operator set.

    Raises:
        InterlockError: of the export, the registration or the promote; a failed promote leaves the version registered.
    """
    model_name(name)
    with tempfile.TemporaryDirectory(prefix="interlock-push-") as directory:
        result = export(
            model,
            Path(directory, f"{name}.onnx"),
            inputs,
            output_names=output_names,
            dynamic=dynamic,
            samples=samples,
            tolerances=tolerances,
            batch_sizes=batch_sizes,
            sizes=sizes,
            opset=opset,
        )
        with nullcontext(admin) if isinstance(admin, Admin) else Admin(admin) as known:
            version = known.register(
                name, result.model_path, golden=result.golden_path, note=note, tags=tags, config=config, sign=sign
            )
            if promote:
                known.promote(name, version.version, reason=note, allow_breaking=allow_breaking)
    return version
