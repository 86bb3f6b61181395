"""Every way out of a command: done, a user's mistake, stopped, a reader that went away."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

MISTAKE, INTERRUPTED, TERMINATED = 2, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM came: unwound like Ctrl-C, so that nothing half-written stays."""


def tell(text: str) -> None:
    """One line to the user, beside the result: on stderr."""
    print(text, file=sys.stderr, flush=True)


def leave(run: Callable[[], None], *, debug: bool) -> int:
    """Run a command and turn every way out of it into an exit status.

    Arguments:
        run: The command.
        debug: Whether a user's mistake shows its traceback too, and libraries may warn.
    """
    with _sigterm(), warnings.catch_warnings():
        if not debug and not sys.warnoptions:
            warnings.simplefilter("ignore")  # of libraries, about things the user cannot mend
        try:
            run()
            sys.stdout.flush()
        except typer.Exit as done:
            return done.exit_code
        except KeyboardInterrupt as stop:
            tell(str(stop) or "interrupted")
            return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
        except BrokenPipeError:  # `reprogram predict ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            message = mistake(error)
            if message is None:
                raise
            if debug:
                traceback.print_exc()
            tell(f"error: {message}")
            return MISTAKE
    return 0


def mistake(error: Exception) -> str | None:
    """What to tell the user of an error they can mend, in one line; ``None`` for any other."""
    types = sys.modules.get("reprogram.types")  # absent: nothing that raises UserError has run
    if types is not None and isinstance(error, types.UserError):
        message = str(error)
    elif hasattr(error, "format_message"):  # typer's own, of words it cannot read
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "reprogram"
        message = error.format_message().rstrip(".")  # pyright: ignore[reportAttributeAccessIssue]
        message = f"{message[:1].lower()}{message[1:]}; see {where} --help"
    elif isinstance(error, OSError) and error.strerror:
        message = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    else:
        return None
    return " ".join(message.split())


@contextmanager
def _sigterm() -> Iterator[None]:
    """SIGTERM raises :class:`Terminated` inside."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
