"""The commands, found by name and imported only when one is run: `interlock infer` never imports the server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Final

import click
from interlock.plugin import CommandLines

ENTRY_POINTS: Final = "interlock.commands"
"""Packages add commands here; the server adds `serve`."""
LINES: Final = "interlock.command_lines"
"""Here they say what those do (CommandLines); a command of which nothing is said is imported for help."""


@dataclass(frozen=True, slots=True)
class _Own:
    """A command of this package."""

    module: str
    """Of this folder; the function there has the command's name."""
    line: str
    """What help says of it; at most 66 characters, which fit beside the names."""


_COMMANDS: Final[Mapping[str, _Own]] = {
    "export": _Own("upload", "Export a PyTorch module to ONNX and prove parity."),
    "register": _Own("upload", "Upload an ONNX file as the next version of MODEL."),
    "quantize": _Own("quantize", "Make an int8 or fp16 form of a version, and tell what it costs."),
    "sign": _Own("signing", "Sign a version that is registered already."),
    "verify": _Own("signing", "Check here that a version is as a key has signed it."),
    "key": _Own("signing", "Make keys to sign with; they stay where they are made."),
    "pull": _Own("download", "Write a version to an ONNX file again."),
    "models": _Own("read", "List the models and where their aliases point."),
    "versions": _Own("read", "List a model's versions, newest first."),
    "show": _Own("read", "Show one version in full."),
    "log": _Own("history", "Show the history: who changed what, when and why."),
    "diff": _Own("difference", "Tell in what two versions differ."),
    "promote": _Own("change", "Point an alias at a version, once that is loaded, warm and right."),
    "rollback": _Own("change", "Point an alias back at what it served before."),
    "approve": _Own("approval", "Agree that an alias may move on to a version."),
    "approvals": _Own("approval", "List what was approved by whom, and whether it counts."),
    "alias": _Own("change", "Remove an alias."),
    "pin": _Own("change", "Load a version and keep it loaded, without an alias."),
    "unpin": _Own("change", "Stop keeping a version loaded."),
    "retire": _Own("change", "Take a version out of use for good."),
    "delete": _Own("change", "Delete a retired version; its number is never used again."),
    "infer": _Own("ask", "Ask a model for one answer."),
    "bench": _Own("bench", "Put load on a model and measure it."),
    "status": _Own("watch", "Show what the server is and does: workers, versions, rollouts."),
}
"""In the order in which help lists them."""

_MEANT: Final[Mapping[str, str]] = {
    "list": "models",
    "ls": "models",
    "history": "log",
    "push": "register",
    "upload": "register",
    "deploy": "promote",
    "revert": "rollback",
    "predict": "infer",
    "start": "serve",
    "help": "--help",
    "version": "--version",
}
"""What others call it, where no likeness of the letters would tell."""

_NOT_INSTALLED: Final = "Not installed: needs interlock[server,cpu]."


class CommandGroup(click.Group):
    """The client's commands and those of installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name: added ones first, since `serve` is where one begins."""
        return [*(name for name in sorted(_added()) if name not in _COMMANDS), *_COMMANDS]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each command, and import only those of which nothing else is known."""
        lines = _added_lines() | {name: own.line for name, own in _COMMANDS.items()}
        rows: list[tuple[str, str]] = []
        for name in self.list_commands(ctx):
            command = None if name in lines else self.get_command(ctx, name)
            rows.append((name, lines.get(name, "") if command is None else command.get_short_help_str(66)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; one whose package lacks a dependency becomes a command that says what to install."""
        if name in _COMMANDS:
            _quieten()
            found: object = getattr(import_module(f"interlock_client.cli.{_COMMANDS[name].module}"), name)
        else:
            entry = _added().get(name)
            if entry is None:
                return None
            try:
                found = entry.load()
            except ModuleNotFoundError as error:
                return _unavailable(name, error.name or str(error))
        if not isinstance(found, click.Command):
            raise click.ClickException(f"the command {name!r} is broken: it is a {type(found).__name__}")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; for one that is not there, say which it may have been."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            known = _MEANT.get(args[0])
            near = [known] if known else get_close_matches(args[0], self.list_commands(ctx), n=2)
            if not near:
                raise
            meant = " or ".join(repr(name) for name in near)
            raise click.UsageError(f"{error.message.rstrip('.')}: did you mean {meant}?", ctx) from error


def _quieten() -> None:
    """Keep gRPC's own notes (a connection that a server ended) off the terminal; an error is reported by us.

    It looks once, when it is imported.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _added() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _added_lines() -> dict[str, str]:
    """Return what installed packages say of their commands, or that those lack what they need."""
    found: dict[str, str] = {}
    for entry in entry_points(group=LINES):
        said: object = entry.load()
        if not isinstance(said, CommandLines):
            raise click.ClickException(f"{entry.value!r} is broken: it is a {type(said).__name__}")
        missing = any(find_spec(module) is None for module in said.needs)
        found |= dict.fromkeys(said.lines, _NOT_INSTALLED) if missing else said.lines
    return found


def _unavailable(name: str, missing: str) -> click.Command:
    def refuse() -> None:
        raise click.ClickException(
            f"`interlock {name}` needs the server, and the module {missing!r} is missing: "
            "run pip install 'interlock[server,cpu]' (or [server,gpu] for CUDA)"
        )

    return click.Command(
        name,
        callback=refuse,
        short_help=_NOT_INSTALLED,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
