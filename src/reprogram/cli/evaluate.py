"""``reprogram evaluate``."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from reprogram.cli import options, runs


class SplitName(StrEnum):
    """A part of a task."""

    train = "train"
    validation = "validation"
    test = "test"


def evaluate(
    run: options.Run,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TASK", help="Another task of the same classes.",
                     show_default="the one it was fitted to"),
    ] = None,
    split: Annotated[SplitName, typer.Option("--split", help="Which part.")] = SplitName.test,
    label: options.Label = None,
    seed: options.Seed = None,
    source: options.Source = None,
    device: options.Device = None,
    strict: options.Strict = True,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Measure a program on a part of its task, or of another one."""
    del debug
    import reprogram
    from reprogram.types import UserError

    program = runs.open_program(run, source=source, strict=strict, device=device)
    loaded = runs.open_task(run, program, task=task, label=label, seed=seed)
    rows = getattr(loaded, split.value)
    if rows is None:
        there = [s.value for s in SplitName if getattr(loaded, s.value) is not None]
        raise UserError(
            f"task {loaded.spec.name!r} has no {split.value} split; it has {' and '.join(there)}"
        )
    measured = reprogram.evaluate(program, rows)
    if as_json:
        print(json.dumps({split.value: measured}))
        return
    print(f"{loaded.spec.name}, {split.value}: {len(rows)} rows")
    for name, value in measured.items():
        print(f"{name.replace('_', ' '):<20}{value:.4f}")
