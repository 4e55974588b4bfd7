"""The `interlock` command."""

from interlock_client.cli.entry import main

__all__ = ["main"]
