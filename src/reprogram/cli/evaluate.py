"""``reprogram evaluate``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reprogram.cli import options, runs

if TYPE_CHECKING:
    from reprogram.tasks import Task
    from reprogram.types import TaskSpec


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
    record = runs.read_record(run) or {}
    loaded = _load(
        task or program.task.name,
        program.task,
        label=label or (record.get("label") if task is None else None) or "label",
        seed=program.seed if seed is None else seed,
    )
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


def _load(name: str, fitted: TaskSpec, *, label: str, seed: int) -> Task:
    """The task, which must ask what the program answers.

    Raises:
        UserError: if its classes or the shape of its samples are others.
    """
    from reprogram import tasks
    from reprogram.types import UserError

    options: dict[str, Any] = {}
    if fitted.input.kind == "image" and Path(name).expanduser().is_dir():
        options["size"] = fitted.input.shape[1:]
    task = tasks.load(name, label=label, seed=seed, **options)
    mine, theirs = task.spec, fitted
    if mine.classes != theirs.classes:
        raise UserError(
            f"task {name!r} has classes {', '.join(mine.classes)}; the program was fitted to "
            f"{', '.join(theirs.classes)}: give a task of the same classes"
        )
    if (mine.input.kind, mine.input.shape) != (theirs.input.kind, theirs.input.shape):
        raise UserError(
            f"task {name!r} has samples of kind {mine.input.kind!r} and shape {mine.input.shape}; "
            f"the program was fitted to {theirs.input.kind!r} of shape {theirs.input.shape}"
        )
    return task
