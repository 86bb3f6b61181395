"""CSV and TSV tables with a header line: numeric columns, in order, are one series."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from reprogram.tasks.build import Samples
from reprogram.tasks.series import numbers, read_text, stack, suffix_of
from reprogram.types import UserError

SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip


def read_table(path: Path, name: str, label: str, *, labelled: bool) -> Samples:
    """A table whose first line names its columns.

    Columns in which most cells are numbers are the series, and then all of their cells must be
    numbers; columns of text are left out. The ``label`` column holds the classes (blank: no label),
    ``split`` the published split (train, validation or test), and ``id`` (or a first column without
    a name) names the rows.

    Arguments:
        path: A file; ``.tsv`` is separated by tabs, everything else by commas.
        name: How rows call the file.
        label: The label column's name.
        labelled: Whether that column must be there.

    Raises:
        UserError: if the label column is not there, a line has another number of cells than the
            header, a cell of a numeric column is no finite number, or no column is numeric.
    """
    lines = _lines(path)
    _, header = lines.pop(0)
    header = [column.strip() for column in header]
    if not lines:
        raise UserError(f"file {path} has a header but no rows; add one sample a line")
    for number, cells in lines:
        if len(cells) != len(header):
            raise UserError(f"row {name}:{number} has {len(cells)} cells, expected "
                            f"{len(header)} as in the header")  # fmt: skip
    if labelled and label not in header:
        raise UserError(f"file {path} has no column {label!r}; name the label column with --label, "
                        f"one of: {_listed(header)}")  # fmt: skip
    columns = {i: [cells[i].strip() for _, cells in lines] for i in range(len(header))}
    rows = [f"{name}:{number}" for number, _ in lines]
    labels = columns.pop(header.index(label)) if label in header else None
    splits = columns.pop(header.index("split")) if "split" in header and label != "split" else None
    named = [i for i in columns if header[i].casefold() == "id"] or [
        i for i in columns if i == 0 and header[i].casefold() in ("", "unnamed: 0")
    ]
    places = list(rows)  # errors tell the line, whatever the rows are called
    if named:
        rows = columns.pop(named[0])
    numeric = {i: column for i, cells in columns.items() if (column := _column(cells))}
    if not numeric:
        raise UserError(f"file {path} has no column of numbers beside {label!r}; its columns: "
                        f"{_listed(header)}")  # fmt: skip
    for i, column in numeric.items():
        bad = next((j for j, value in enumerate(column) if not math.isfinite(value)), None)
        if bad is not None:
            told = repr(columns[i][bad]) if columns[i][bad] else "empty"
            raise UserError(f"row {places[bad]}, column {header[i]!r} is {told}; every cell of it "
                            "must be a number: fill it in or remove the row")  # fmt: skip
    series = zip(*numeric.values(), strict=True)
    inputs = stack([[list(row)] for row in series], places)
    return Samples(inputs, labels, rows, splits and _splits(splits, places))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    delimiter = "\t" if suffix_of(path) == ".tsv" else ","
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(c.strip() for c in cells)]
    except csv.Error as error:
        raise UserError(
            f"file {path}, line {reader.line_num}: {error}; check its quotes"
        ) from error
    header = lines[0][1]
    if len(header) == 1 and ";" in header[0]:
        raise UserError(f"file {path} is separated by ';'; separate its columns by commas, "
                        "or by tabs in a .tsv")  # fmt: skip
    if numbers(header) is not None:
        raise UserError(f"file {path} has no header; name its columns in the first line, "
                        "or save it as .tsv with the label in the first column")  # fmt: skip
    return lines


def _column(cells: list[str]) -> list[float] | None:
    """The cells as numbers, NaN for what is none; ``None`` unless most filled cells are numbers."""
    values = numbers(cells)
    if values is not None:
        return values
    found = [numbers([cell]) for cell in cells]
    known, filled = sum(value is not None for value in found), sum(map(bool, cells))
    return (
        [math.nan if value is None else value[0] for value in found] if 2 * known > filled else None
    )


def _splits(cells: list[str], places: list[str]) -> list[str]:
    for place, cell in zip(places, cells, strict=True):
        if cell.casefold() not in SPLITS:
            raise UserError(f"row {place}, column 'split' is {cell!r}; "
                            "write train, validation or test")  # fmt: skip
    return [SPLITS[cell.casefold()] for cell in cells]


def _listed(header: list[str]) -> str:
    shown = [repr(column) for column in header]
    return ", ".join(shown if len(shown) <= 20 else [*shown[:10], "...", *shown[-9:]])
