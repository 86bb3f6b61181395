"""``reprogram predict``."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reprogram.cli import drawing, options, runs
from reprogram.cli.exits import tell

if TYPE_CHECKING:
    from reprogram.program import Program
    from reprogram.tasks import Reading

BATCH = 64  # rows read and predicted at once


class Format(StrEnum):
    """How predictions are written."""

    csv = "csv"
    jsonl = "jsonl"


def predict(
    run: options.Run,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES...",
            help="Of the kinds that fit reads; classes that are wanted, of a program that makes "
            "images: all for every one.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="A .csv or .jsonl; a .png, .gif or .npz of images; a .gif of an automaton's run.",
            show_default="stdout",
        ),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="csv, or what --out's name ends in.")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", help="Images of each class that is wanted.", show_default="8"),
    ] = None,
    label: options.Label = None,
    seed: options.Seed = None,
    source: options.Source = None,
    device: options.Device = None,
    strict: options.Strict = True,
    debug: options.Debug = False,
) -> None:
    """Predict the class of each sample in files, in their order; or make images of classes.

    Each row carries its file's name (or file:line, or the table's id), the likeliest class, and the
    probability of every class.
    """
    del debug
    from reprogram import tasks
    from reprogram.files import atomic_write
    from reprogram.types import UserError

    program = runs.open_program(run, source=source, strict=strict, device=device)
    makes = program.task.target == "image"
    films = program.task.target == "cells" and out is not None and out.suffix.lower() == ".gif"
    if form is not None and (makes or films):
        raise UserError(f"--format {form.value} is of predictions, and this writes pictures; "
                        "leave it out")  # fmt: skip
    if count is not None and not makes:
        raise UserError(f"--count {count} is of images, and {program.task.name} asks for "
                        f"{program.task.target}; leave it out")  # fmt: skip
    if makes:
        print(
            drawing.drawn(program, files, out, count=8 if count is None else count, seed=seed or 0)
        )
        return
    chosen = Format.csv if films else _format(form, out)
    record = runs.read_record(run) or {}
    reading = tasks.read(files, program.task, label=label or record.get("label", "label"))
    if films and out is not None:
        drawing.filmed(program, reading, out, seed=seed or 0)
        return
    labels: list[str] = []
    lines = _lines(program, reading, chosen, labels, seed=seed or 0)
    if out is None:
        sys.stdout.writelines(lines)
    else:
        with atomic_write(out) as temporary, temporary.open("w", newline="") as file:
            file.writelines(lines)
    one = program.task.target == "classes"
    known = (reading.weights > 0).nonzero()[:, 0].tolist() if one else []
    _tell_reading(program, reading)
    if known:
        classes = program.task.classes
        right = sum(classes[int(reading.targets[i])] == labels[i] for i in known)
        share = f"{right} of {len(known)}"
        tell(f"{share} labelled rows are predicted as labelled ({right / len(known):.3f})")


def _tell_reading(program: Program, reading: Reading) -> None:
    """What of the rows was not known, or cut."""
    import torch

    total: dict[str, int] = {}
    for index in torch.arange(len(reading)).split(BATCH):
        for key, count in program.transformation.tally(reading.batch(index)[0]).items():
            total[key] = total.get(key, 0) + count
    if total.get("unknown"):
        tell(f"{total['unknown']} of {total['tokens']} tokens were not met in training: read as "
             "unknown")  # fmt: skip
    if total.get("cut"):
        tell(f"{total['cut']} of {len(reading)} rows are longer than the program reads: cut")


def _format(form: Format | None, out: Path | None) -> Format:
    from reprogram.types import UserError

    if form is not None:
        return form
    if out is None:
        return Format.csv
    if out.suffix.lower() not in (".csv", ".jsonl"):
        raise UserError(f"--out {out} is neither a .csv nor a .jsonl; name it so, or give --format")
    return Format(out.suffix.lower()[1:])


def _lines(
    program: Program, reading: Reading, form: Format, labels: list[str], seed: int
) -> Iterator[str]:
    """A line for each row, read and predicted as they are asked for; ``labels`` gathers what is."""
    import torch

    classes = program.task.classes
    if program.task.target == "tokens":  # the likeliest text; a probability a place would be a book
        classes = ()
    if form is Format.csv:
        yield _csv(["row", "label", *(f"probability_{name}" for name in classes)])
    for index in torch.arange(len(reading)).split(BATCH):
        predicted = program.predict(reading.batch(index)[0], seed=seed)
        labels += predicted.labels
        for i, probabilities in zip(index.tolist(), predicted.probabilities.tolist(), strict=True):
            row, values = reading.rows[i], [round(p, 6) for p in probabilities if classes]
            if form is Format.csv:
                yield _csv([row, labels[i], *values])
                continue
            told = dict(zip(classes, values, strict=True))
            told = {"row": row, "label": labels[i], "probabilities": told}
            yield json.dumps(told, ensure_ascii=False) + "\n"


def _csv(cells: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
