"""The commands in one place, and the entry point. A new command is one line here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
import typer.main

from reprogram.cli.demo import demo
from reprogram.cli.evaluate import evaluate
from reprogram.cli.exits import leave
from reprogram.cli.export import export
from reprogram.cli.fit import fit
from reprogram.cli.listing import show_list
from reprogram.cli.predict import predict
from reprogram.cli.report import report
from reprogram.cli.reproduce import reproduce

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(demo)
app.command("list")(show_list)
app.command()(export)
app.command()(fit)
app.command()(evaluate)
app.command()(predict)
app.command()(report)
app.command()(reproduce)


def _version(wanted: bool) -> bool:
    if wanted:
        from reprogram import __version__

        print(f"reprogram {__version__}")
        raise typer.Exit()
    return wanted


@app.callback()
def reprogram(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    """Model reprogramming: a frozen pre-trained model solves another domain's task.

    Begin with `reprogram demo`.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    0: done; 2: a mistake of the user's, told in one line on stderr; 130 and 143: stopped by Ctrl-C
    or SIGTERM; 1: an error of this library's, with its traceback.

    Arguments:
        argv: The words after the program's name; those of the process if absent.
    """
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    # Before torch is imported: threads that spin between small layers cost more than they give.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    def run() -> None:
        command = typer.main.get_command(app)
        with command.make_context("reprogram", words) as context:
            command.invoke(context)

    return leave(run, debug="--debug" in words)
