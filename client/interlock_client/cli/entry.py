"""From arguments to an exit code: 0, 1 for an error (one line on stderr), 2 for wrong usage, 130 for Ctrl-C."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import click
from interlock import __version__
from interlock.errors import InterlockError, ModelNotFound
from interlock.shown import shown

from interlock_client._address import ADMIN, INFERENCE
from interlock_client.cli.group import CommandGroup
from interlock_client.cli.session import Session, addresses

DEBUG: Final = "INTERLOCK_DEBUG"

_PLACES: Final = {
    INFERENCE.flag: f"This command asks the admin port: {ADMIN.flag} names its address.",
    ADMIN.flag: f"This command asks the inference port: {INFERENCE.flag} names its address.",
    "-o": "It goes behind the name of a command that prints a result.",
    "--output": "It goes behind the name of a command that prints a result.",
}


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="interlock", message="%(prog)s %(version)s")
@addresses
def interlock() -> None:
    """Serve models with version control: register, promote, roll back, ask."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command and exit."""
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; whatever goes wrong is one line on stderr, never a traceback."""
    session = Session()
    try:
        result = interlock.main(args=args, prog_name="interlock", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except click.UsageError as error:
        _pointed(error).show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except ModelNotFound as error:
        like = session.like(error.facts.get("model", ""))
        return _failed(f"{error.message}; did you mean {like!r}?" if like else error.message)
    except InterlockError as error:
        return _failed(error.message)
    except BrokenPipeError:
        # Whoever read our output has enough (`interlock log | head`); Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort of a command: reported, and told how to see more
        hint = "" if _debugging() else f" (set {DEBUG}=1 to see the traceback)"
        return _failed(f"unexpected {type(error).__name__}: {error}{hint}")
    return result if isinstance(result, int) else 0


def _pointed(error: click.UsageError) -> click.UsageError:
    """Say of an option that stands where it is none where it belongs."""
    hint = _PLACES.get(error.option_name) if isinstance(error, click.NoSuchOption) else None
    return error if hint is None else click.UsageError(f"{error.format_message()} {hint}", error.ctx)


def _debugging() -> bool:
    return os.environ.get(DEBUG, "") not in ("", "0")


def _failed(message: str, code: int = 1) -> int:
    if _debugging():
        traceback.print_exc()
    click.echo(f"interlock: {shown(' '.join(message.split()))}", err=True)
    return code
