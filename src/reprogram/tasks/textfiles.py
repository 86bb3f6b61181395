"""Files of texts: FASTA, one text a line, and columns of tables, with labels or without."""

from __future__ import annotations

from pathlib import Path

from reprogram.tasks.build import Samples
from reprogram.tasks.options import split_name
from reprogram.tasks.series import read_text, suffix_of
from reprogram.tasks.smiles import check_smiles
from reprogram.tasks.tables import SUFFIXES, open_table
from reprogram.tasks.texts import text_inputs
from reprogram.types import TaskSpec, UserError

FASTA = (".fasta", ".fa", ".fna", ".faa", ".ffn")
LINES = (".txt",)


def read_fasta(path: Path, name: str) -> Samples:
    """Sequences of letters, each below a header ``>id`` or ``>id words label``.

    The label is the header's last word, where there is more than the id; rows are called by their
    id.

    Arguments:
        path: The file, plain or gzipped.
        name: How rows without an id call the file.

    Raises:
        UserError: if a letter stands before the first header.
    """
    rows, labels, sequences = [], [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.startswith(">"):
            words = line[1:].split()
            rows.append(words[0] if words else f"{name}:{number}")
            labels.append(words[-1] if len(words) > 1 else None)
            sequences.append([])
        elif line.strip():
            if not sequences:
                raise UserError(f"file {path}, line {number} stands before the first '>'; a FASTA "
                                "file has a header above each sequence")  # fmt: skip
            sequences[-1].append("".join(line.split()))
    return Samples(["".join(s) for s in sequences], labels if any(labels) else None, rows)


def read_lines(path: Path, name: str) -> Samples:
    """One text a line, without labels."""
    lines = [line.strip() for line in read_text(path).rstrip().split("\n")]
    return Samples(lines, None, [f"{name}:{number}" for number in range(1, len(lines) + 1)])


def read_texts(path: Path, name: str, spec: TaskSpec, label: str) -> Samples:
    """Rows to predict, as code points, with the labels they have.

    A table's column is the one that the task's name tells, else found as in
    :meth:`~reprogram.tasks.tables.Table.text_columns`. The last word of a FASTA header is a label
    where it is a class.

    Arguments:
        path: A table, a FASTA file, or a ``.txt`` of one text a line.
        name: How rows call the file.
        spec: What the program expects.
        label: The label column of a table; that of several labels is called as they are.

    Raises:
        UserError: if the file is of another kind, or a text is not what it should be.
    """
    suffix = suffix_of(path)
    if suffix in FASTA:
        samples = read_fasta(path, name)
        known = [value if value in spec.classes else None for value in samples.labels or ()]
        samples = samples._replace(labels=known if any(known) else None)
    elif suffix in LINES:
        samples = read_lines(path, name)
    elif suffix in SUFFIXES:
        names = spec.classes if spec.target == "labels" else label
        table = open_table(path, name, names, labelled=False)
        columns = table.text_columns(_column(spec, table.header))
        if not columns:
            raise UserError(f"file {path} holds numbers, task {spec.name!r} takes texts; give a "
                            "column named text, or one text a line in a .txt")  # fmt: skip
        samples = table.texts(columns)[1]
    else:
        raise UserError(f"file {path} holds no texts, which task {spec.name!r} takes; give a "
                        f"{', '.join((*SUFFIXES, *FASTA[:2], *LINES))}")  # fmt: skip
    rows = samples.rows or ()
    points = text_inputs(samples.inputs, rows)
    if spec.input.notation == "smiles":
        check_smiles(samples.inputs, rows)
    return samples._replace(inputs=points)


def _column(spec: TaskSpec, header: list[str]) -> str | None:
    """The text's column as the task's name tells it, where this table has it."""
    column = split_name(spec.name)[1].get("column")
    names = str(column).split(",")
    return str(column) if column is not None and {n.strip() for n in names} <= {*header} else None
