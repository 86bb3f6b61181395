"""``reprogram predict``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from reprogram.cli import options, runs
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
        list[str], typer.Argument(metavar="FILES...", help="Of the kinds that fit reads.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="A .csv or .jsonl.", show_default="stdout"),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="csv, or what --out's name ends in.")
    ] = None,
    label: options.Label = None,
    source: options.Source = None,
    device: options.Device = None,
    strict: options.Strict = True,
    debug: options.Debug = False,
) -> None:
    """Predict the class of each sample in files, in their order.

    Each row carries its file's name (or file:line, or the table's id), the likeliest class, and the
    probability of every class.
    """
    del debug
    from reprogram import tasks
    from reprogram.files import atomic_write

    chosen = _format(form, out)
    program = runs.open_program(run, source=source, strict=strict, device=device)
    record = runs.read_record(run) or {}
    reading = tasks.read(files, program.task, label=label or record.get("label", "label"))
    if out is None:
        right = _write(program, reading, chosen, sys.stdout)
    else:
        with atomic_write(out) as temporary, temporary.open("w", newline="") as file:
            right = _write(program, reading, chosen, file)
    known = int((reading.weights > 0).sum())
    if known:
        tell(f"{right} of {known} labelled rows are predicted as labelled ({right / known:.3f})")


def _format(form: Format | None, out: Path | None) -> Format:
    from reprogram.types import UserError

    if form is not None:
        return form
    if out is None:
        return Format.csv
    if out.suffix.lower() not in (".csv", ".jsonl"):
        raise UserError(f"--out {out} is neither a .csv nor a .jsonl; name it so, or give --format")
    return Format(out.suffix.lower()[1:])


def _write(program: Program, reading: Reading, form: Format, file: TextIO) -> int:
    """Write every row; the number of labelled rows that are predicted as labelled."""
    classes = program.task.classes
    table = csv.writer(file, lineterminator="\n")
    if form is Format.csv:
        table.writerow(["row", "label", *(f"probability {name}" for name in classes)])
    right = 0
    for i, label, probabilities in _predictions(program, reading):
        right += bool(reading.weights[i] > 0 and classes[int(reading.targets[i])] == label)
        values = [round(p, 6) for p in probabilities]
        if form is Format.csv:
            table.writerow([reading.rows[i], label, *values])
            continue
        told = dict(zip(classes, values, strict=True))
        told = {"row": reading.rows[i], "label": label, "probabilities": told}
        file.write(json.dumps(told, ensure_ascii=False) + "\n")
    return right


def _predictions(program: Program, reading: Reading) -> Iterator[tuple[int, str, list[float]]]:
    import torch

    for index in torch.arange(len(reading)).split(BATCH):
        predicted = program.predict(reading.batch(index)[0])
        yield from zip(
            index.tolist(), predicted.labels, predicted.probabilities.tolist(), strict=True
        )
