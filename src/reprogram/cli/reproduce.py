"""``reprogram reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprogram.cli import options
from reprogram.cli.exits import tell


def reproduce(
    row: Annotated[
        str,
        typer.Argument(
            metavar="ROW",
            help="Which table: v2s, ar, elsayed, mappings, fraud, black-box, names, questions, "
            "splice, molecules, warp, reprogbert, generators or automata.",
        ),
    ],
    task: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="TASK", help="One of its tasks, or several times one.",
                     show_default="all of the row"),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="URI", help="One of its sources, or several times one.",
                     show_default="all of the row"),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many, from 0 on.")] = 3,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where finished cells are kept.")
    ] = Path("runs/reproduce"),
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Processes side by side, one thread each.")
    ] = 1,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE", help="Put the table into a file of results, too."),
    ] = None,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Measure a paper's table: its figure, ours, and the controls.

    Hours for a whole row on a laptop. What is finished is kept in --out: the same command again
    goes on where it stopped.
    """
    del debug
    from reprogram import grid
    from reprogram import reproduce as room
    from reprogram.rows import find_row
    from reprogram.types import UserError

    found = find_row(row)
    settings = {"seeds": range(seeds), "folder": out, "jobs": jobs, "tell": tell}
    if isinstance(found, grid.Grid):
        if task or source:
            raise UserError(f"row {row!r} is a grid and is measured whole; leave --task and "
                            "--source out")  # fmt: skip
        section = grid.run(found, **settings)
    else:
        section = room.run(found, tasks=task or (), sources=source or (), **settings)
    if write is not None:
        room.write(section, found.name, write)
    print(section)
