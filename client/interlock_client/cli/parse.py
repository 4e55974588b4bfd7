"""Texts that users type → values. Pure but for the files that they name."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import click
import numpy as np
from interlock.errors import InvalidArgument
from interlock.types import Array

from interlock_client import ChainHead, NonFinite, ServingConfig


@dataclass(frozen=True, slots=True)
class Pair:
    """A NAME=VALUE."""

    name: str
    value: str


class PairType(click.ParamType[Pair]):
    """NAME=VALUE on the command line."""

    name = "NAME=VALUE"

    def convert(self, value: str | Pair, param: click.Parameter | None, ctx: click.Context | None) -> Pair:
        """Split at the first equals sign."""
        if isinstance(value, Pair):
            return value
        name, equals, rest = value.partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return Pair(name, rest)


class VersionType(click.ParamType[int]):
    """A version's number: what is none is told where to find one, as an alias or a ref is soon typed in its place."""

    name = "VERSION"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number."""
        text = str(value)
        if not (text.isascii() and text.isdigit() and 0 < int(text[:19]) < 2**31):
            self.fail(
                f"{text!r} is not a version's number, such as 3; `interlock versions MODEL` lists them", param, ctx
            )
        return int(text)


class MomentType(click.ParamType[datetime]):
    """A time: RFC 3339, in local time where it names no zone, or as long ago as "10 minutes ago" says."""

    name = "TIME"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the time and give it a zone."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError) as error:
            ago = _ago(value)
            if ago is not None:
                return ago
            self.fail(
                f"{value!r} is not a time ({error}); write 2026-01-31T12:00, 2026-01-31T12:00:00Z or '10 minutes ago'",
                param,
                ctx,
            )


_ONE: Final = re.compile(r"^1 ([a-z]+) ago$")


def _ago(text: str) -> datetime | None:
    if not text.endswith(" ago"):
        return None
    import arrow  # late: few commands are given a time, and fewer one in words

    try:
        return arrow.utcnow().dehumanize(_ONE.sub(r"1 \1s ago", text)).datetime  # it knows "an hour", and not "1 hour"
    except (ValueError, OverflowError):
        return None


class HeadType(click.ParamType[ChainHead]):
    """SEQ:HASH, a place in the chain of events."""

    name = "SEQ:HASH"

    def convert(self, value: str | ChainHead, param: click.Parameter | None, ctx: click.Context | None) -> ChainHead:
        """Read the number and the hash."""
        if isinstance(value, ChainHead):
            return value
        try:
            return ChainHead.parse(value)
        except ValueError as error:
            self.fail(f"{error}; `interlock log --verify` prints one to keep", param, ctx)


def unique(pairs: Sequence[Pair], flag: str) -> dict[str, str]:
    """Return pairs by name; a name given twice is wrong usage."""
    found: dict[str, str] = {}
    for pair in pairs:
        if pair.name in found:
            raise click.BadParameter(f"{pair.name!r} is given twice", param_hint=flag)
        found[pair.name] = pair.value
    return found


def tensor(name: str, text: str) -> Array | object:
    """Read an input: FILE.npy, or a JSON literal, which the client converts to the input's datatype."""
    if text.endswith(".npy"):
        try:
            return np.asarray(np.load(text, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            why = getattr(error, "strerror", None) or error
            raise InvalidArgument(f"input {name!r}: {text!r} cannot be read as an .npy file: {why}") from error
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(
            f"{name!r} is neither FILE.npy nor a JSON literal: {text[:60]!r} ({error}); "
            f"""write for example {name}=image.npy, {name}='[[1.5, 2]]' or {name}='["text"]'""",
            param_hint="--input",
        ) from error
    return found


def serving_config(path: Path) -> ServingConfig:
    """Read a serving config from TOML or JSON; raises InvalidArgument that names the key that is wrong."""
    try:
        data = path.read_bytes()
        found: object = json.loads(data) if path.suffix == ".json" else tomllib.loads(data.decode())
    except OSError as error:
        raise InvalidArgument(f"the config file {str(path)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise InvalidArgument(f"the config file {str(path)!r} is not {kind}: {error}") from error
    known = [field.name for field in dataclasses.fields(ServingConfig)]
    if not isinstance(found, dict):
        raise InvalidArgument(f"the config file {str(path)!r} must hold {', '.join(known)} by name")
    for key, value in found.items():
        if key not in known:
            raise InvalidArgument(
                f"the config file {str(path)!r} has the unknown key {key!r}; a serving config has {', '.join(known)}"
            )
        if key == "preferred_batch_sizes":
            if not isinstance(value, list) or not all(_is_size(each) for each in value):
                raise InvalidArgument(f"{key} in {str(path)!r} must be a list of whole numbers from 0, got {value!r}")
            found[key] = tuple(value)
        elif key == "non_finite":
            choices = [each.value for each in NonFinite]
            if value not in choices:
                raise InvalidArgument(f"{key} in {str(path)!r} must be one of {', '.join(choices)}, got {value!r}")
            found[key] = NonFinite(value)
        elif not _is_size(value):
            raise InvalidArgument(f"{key} in {str(path)!r} must be a whole number from 0, got {value!r}")
    return ServingConfig(**found)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
