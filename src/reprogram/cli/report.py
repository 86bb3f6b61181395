"""``reprogram report``."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprogram.cli import options, runs
from reprogram.cli.exits import tell

if TYPE_CHECKING:
    from reprogram.program import Program
    from reprogram.tasks import Task

PAGE = "report.html"


def report(
    run: options.Run,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page.", show_default=f"RUN/{PAGE}"),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TASK", help="Another task of the same classes.",
                     show_default="the one it was fitted to"),
    ] = None,
    label: options.Label = None,
    seed: options.Seed = None,
    source: options.Source = None,
    device: options.Device = None,
    strict: options.Strict = True,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Show it in a browser.")] = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Write what happened in a run as one HTML file with pictures.

    It needs the source and the task, and one query a test sample; where either is not to be had,
    the page holds what the run's files tell, and says what is missing.
    """
    del debug
    from reprogram.files import atomic_write
    from reprogram.record import read_record
    from reprogram.report import render
    from reprogram.types import UserError

    read_record(run)  # a folder that is no run is told before anything is loaded
    missing: list[str] = []
    program: Program | None = None
    found: Task | None = None
    try:
        program = runs.open_program(run, source=source, strict=strict, device=device)
    except UserError as error:
        if source is not None or device is not None:
            raise  # what was asked for by name is no accident
        missing.append(f"The program could not be loaded: {error}.")
    if program is not None:
        try:
            found = runs.open_task(run, program, task=task, label=label, seed=seed)
        except UserError as error:
            if task is not None:
                raise
            missing.append(f"The task could not be loaded: {error}.")
    page = render(run, program, found, missing=missing)
    place = out or run / PAGE
    with atomic_write(place) as temporary:
        temporary.write_text(page, encoding="utf-8")
    for reason in missing:
        tell(f"note: {reason}")
    print(json.dumps({"report": str(place), "missing": missing}) if as_json else place)
    if show:
        webbrowser.open(place.resolve().as_uri())
