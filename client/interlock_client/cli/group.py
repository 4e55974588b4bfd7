"""The commands, found by name and imported only when one is run: `interlock infer` never imports the server."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

ENTRY_POINTS: Final = "interlock.commands"
"""Packages add commands here; the server adds `serve`."""

_COMMANDS: Final[Mapping[str, str]] = {
    "export": "upload",
    "register": "upload",
    "quantize": "quantize",
    "sign": "signing",
    "verify": "signing",
    "key": "signing",
    "pull": "download",
    "models": "read",
    "versions": "read",
    "show": "read",
    "log": "history",
    "diff": "difference",
    "promote": "change",
    "rollback": "change",
    "approve": "approval",
    "approvals": "approval",
    "alias": "change",
    "pin": "change",
    "unpin": "change",
    "retire": "change",
    "delete": "change",
    "infer": "ask",
    "bench": "bench",
    "status": "watch",
}
"""Module of this package by command, in the order in which help lists them; the function has the command's name."""


class CommandGroup(click.Group):
    """The client's commands and those of installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name: added ones first, since `serve` is where one begins."""
        return [*(name for name in sorted(_added()) if name not in _COMMANDS), *_COMMANDS]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; one whose package lacks a dependency becomes a command that says what to install."""
        if name in _COMMANDS:
            found: object = getattr(import_module(f"interlock_client.cli.{_COMMANDS[name]}"), name)
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
            near = get_close_matches(args[0], self.list_commands(ctx), n=2)
            if not near:
                raise
            meant = " or ".join(repr(name) for name in near)
            raise click.UsageError(f"{error.message.rstrip('.')}: did you mean {meant}?", ctx) from error


def _added() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _unavailable(name: str, missing: str) -> click.Command:
    def refuse() -> None:
        raise click.ClickException(
            f"`interlock {name}` needs the server, and the module {missing!r} is missing: "
            "run pip install 'interlock[server,cpu]' (or [server,gpu] for CUDA)"
        )

    return click.Command(
        name,
        callback=refuse,
        short_help="Not installed: needs interlock[server,cpu].",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
