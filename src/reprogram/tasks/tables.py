"""CSV, TSV and JSONL tables: numeric columns, in order, are one series; or a column holds texts."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reprogram.tasks.build import Samples
from reprogram.tasks.series import numbers, read_text, stack, suffix_of
from reprogram.texts import PAIR
from reprogram.types import Notation, UserError

SUFFIXES = (".csv", ".tsv", ".jsonl")
SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
_ENDS: dict[str, Notation] = {
    "text": "", "sentence": "", "smiles": "smiles", "sequence": "sequence", "seq": "sequence",
}  # fmt: skip


def read_table(path: Path, name: str, label: str, *, labelled: bool) -> Samples:
    """The numeric columns of a table as series; see :func:`open_table` and :meth:`Table.series`."""
    return open_table(path, name, label, labelled=labelled).series()


def open_table(path: Path, name: str, label: str | Sequence[str], *, labelled: bool) -> Table:
    """A table whose first line names its columns, or of one JSON object a line.

    The ``label`` column holds the classes (blank: no label), ``split`` the published split (train,
    validation or test), and ``id`` (or a first column without a name) names the rows. Several label
    columns hold 0, 1 or blanks.

    Arguments:
        path: A file; ``.tsv`` is separated by tabs, ``.jsonl`` one object a line, everything else
            separated by commas.
        name: How rows call the file.
        label: The label column's name; several with commas between them, or in a sequence.
        labelled: Whether they must be there.

    Raises:
        UserError: if a label column is not there, or a line has another number of cells than the
            header.
    """
    lines = _objects(path) if suffix_of(path) == ".jsonl" else _lines(path)
    _, header = lines.pop(0)
    header = [column.strip() for column in header]
    if not lines:
        raise UserError(f"file {path} has a header but no rows; add one sample a line")
    for number, cells in lines:
        if len(cells) != len(header):
            raise UserError(f"row {name}:{number} has {len(cells)} cells, expected "
                            f"{len(header)} as in the header")  # fmt: skip
    several = () if isinstance(label, str) and label in header else label_names(label)
    wanted = several or (str(label),)
    missing = [column for column in wanted if column not in header]
    if labelled and missing:
        raise UserError(f"file {path} has no column {missing[0]!r}; name the label column with "
                        f"--label, one of: {_listed(header)}")  # fmt: skip
    columns = {i: [cells[i].strip() for _, cells in lines] for i in range(len(header))}
    places = [f"{name}:{number}" for number, _ in lines]
    told = {c: columns.pop(header.index(c)) for c in wanted if c in header}
    labels = told.get(str(label))
    if several and told:
        blank = [""] * len(lines)
        labels = list(zip(*(told.get(column, blank) for column in several), strict=True))
    splits = None
    if "split" in header and "split" not in wanted:
        splits = _splits(columns.pop(header.index("split")), places)
    named = [i for i in columns if header[i].casefold() == "id"] or [
        i for i in columns if i == 0 and header[i].casefold() in ("", "unnamed: 0")
    ]
    rows = columns.pop(named[0]) if named else list(places)
    return Table(path, header, columns, Samples(None, labels, rows, splits), places, wanted)


def label_names(label: str | Sequence[str]) -> tuple[str, ...]:
    """The names of several label columns; none where there is one.

    Example:
        >>> label_names("toxic,active"), label_names("label")
        (('toxic', 'active'), ())
    """
    names = label.split(",") if isinstance(label, str) else label
    return tuple(name.strip() for name in names) if len(names) > 1 else ()


@dataclass(frozen=True)
class Table:
    """The cells of a table beside its labels, splits and names of rows.

    Arguments:
        path: The file.
        header: Names of all columns.
        columns: Cells of each column that is neither label, split nor id, by its place.
        told: Labels, rows and splits.
        places: The line of each row: errors tell it, whatever the rows are called.
        labels: Names of the label columns.
    """

    path: Path
    header: list[str]
    columns: dict[int, list[str]]
    told: Samples
    places: list[str]
    labels: tuple[str, ...]

    def series(self) -> Samples:
        """The columns in which most cells are numbers; columns of text are left out.

        Raises:
            UserError: if a cell of a numeric column is no finite number, or no column is numeric.
        """
        numeric = {i: column for i, cells in self.columns.items() if (column := _column(cells))}
        if not numeric:
            raise UserError(f"file {self.path} has no column of numbers beside "
                            f"{', '.join(map(repr, self.labels))}; its columns: "
                            f"{_listed(self.header)}")  # fmt: skip
        for i, column in numeric.items():
            bad = next((j for j, value in enumerate(column) if not math.isfinite(value)), None)
            if bad is not None:
                cell = self.columns[i][bad]
                raise UserError(f"row {self.places[bad]}, column {self.header[i]!r} is "
                                f"{repr(cell) if cell else 'empty'}; every cell of it must be a "
                                "number: fill it in or remove the row")  # fmt: skip
        series = zip(*numeric.values(), strict=True)
        return self.told._replace(inputs=stack([[list(row)] for row in series], self.places))

    def text_columns(self, column: str | None = None) -> list[int]:
        """Which columns hold the text; none where they are numbers.

        One named ``text`` or ``sentence``, or whose name ends in ``smiles``, ``sequence`` or
        ``seq``; where no column is numeric, the only one there is.

        Arguments:
            column: Its name; two with a comma between them for pairs of sentences.

        Raises:
            UserError: if there is no such column, or several could be meant.
        """
        known = {self.header[i]: i for i in self.columns}
        if column is not None:
            names = [column] if column in known else [part.strip() for part in column.split(",")]
            if unknown := [name for name in names if name not in known]:
                raise UserError(f"file {self.path} has no column {unknown[0]!r} for the text; "
                                f"there are: {_listed(list(known))}")  # fmt: skip
            return [known[name] for name in names]
        words = [i for i, cells in self.columns.items() if _column(cells) is None]
        likely = [i for i in words if notation_of(self.header[i]) is not None]
        if not likely and len(words) == len(self.columns):
            likely = words
        if len(likely) > 1:
            raise UserError(f"file {self.path} has several columns of text: "
                            f"{_listed([self.header[i] for i in likely])}; choose one by its name, "
                            f"as {self.path.name}?column={self.header[likely[0]]}")  # fmt: skip
        return likely

    def texts(self, columns: list[int]) -> tuple[Notation, Samples]:
        """How the text of these columns is written, and the rows."""
        notation = notation_of(self.header[columns[0]]) or ""
        cells = zip(*(self.columns[i] for i in columns), strict=True)
        return notation, self.told._replace(inputs=[PAIR.join(row) for row in cells])


def notation_of(column: str) -> Notation | None:
    """How a column's text is written, by the end of its name; ``None`` where it does not tell.

    Example:
        >>> notation_of("canonical_smiles"), notation_of("Text"), notation_of("price")
        ('smiles', '', None)
    """
    name = column.casefold()
    return next((notation for end, notation in _ENDS.items() if name.endswith(end)), None)


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


def _objects(path: Path) -> list[tuple[int, list[str]]]:
    """The same of a file of one JSON object a line: a header of every key, then the values."""
    found: list[tuple[int, dict[str, str]]] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise UserError(f"file {path}, line {number} is no JSON ({error}); write one object "
                            "a line") from error  # fmt: skip
        if not isinstance(values, dict):
            raise UserError(f"file {path}, line {number} is no JSON object; write "
                            '{"text": ..., "label": ...}')  # fmt: skip
        nested = [key for key, value in values.items() if isinstance(value, dict | list)]
        if nested:
            raise UserError(f"file {path}, line {number}: {nested[0]!r} holds several values; "
                            "write one string or number a key")  # fmt: skip
        found.append((number, {k: "" if v is None else str(v) for k, v in values.items()}))
    header = list(dict.fromkeys(key for _, values in found for key in values))
    return [(0, header), *((n, [values.get(key, "") for key in header]) for n, values in found)]


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
