"""The user's own files: read with labels as a task, or as rows to predict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reprogram.tasks.arrays import read_arrays
from reprogram.tasks.base import LazyInputs, Split, Task
from reprogram.tasks.build import Samples, as_inputs, class_name, make_task
from reprogram.tasks.images import (
    SUFFIXES,
    fitted,
    read_images,
    scan_classes,
    scan_images,
)
from reprogram.tasks.labels import yes_or_no
from reprogram.tasks.series import is_ucr, read_text, suffix_of
from reprogram.tasks.smiles import check_smiles
from reprogram.tasks.tables import SUFFIXES as TABLES
from reprogram.tasks.tables import label_names, open_table, read_table
from reprogram.tasks.textfiles import FASTA, LINES, read_fasta, read_texts
from reprogram.tasks.texts import widened
from reprogram.tasks.ucr import read_series
from reprogram.types import InputKind, Notation, TaskSpec, UserError, nearest

KINDS = ".csv, .tsv, .jsonl, .fasta, .ts (or .gz), .npz, or a folder of images, one folder a class"


def load_file(
    path: str | os.PathLike[str], *, label: str = "label", seed: int = 0,
    size: int | str | tuple[int, int] | None = None, kind: str | None = None,
    column: str | None = None,
) -> Task:  # fmt: skip
    """A task of the user's own files.

    A folder of images with one folder a class (and optional ``train``, ``validation``, ``test``
    folders above); a CSV, TSV or JSONL table of numbers or with a column of texts; a FASTA file
    with ``>id label`` above each sequence; a UCR ``.tsv`` or ``.ts``; an ``.npz``. A file whose
    name ends in ``_TRAIN`` finds its ``_TEST`` beside it.

    A column named ``text`` or ``sentence`` holds texts, one whose name ends in ``smiles``
    molecules (which RDKit must be able to parse), in ``sequence`` or ``seq`` letters of DNA or
    protein.

    Arguments:
        path: File or folder.
        label: The label column of a table; several with commas between them hold 0, 1 or blanks,
            and ask for yes or no to each.
        seed: Of the cuts.
        size: Side, or ``(height, width)``, to which images are resized, in pixels; by default the
            most common size.
        kind: ``"table"`` where the numeric columns of a CSV or TSV, or of (n, columns) arrays, are
            measurements without an order; they are a ``"series"`` by default. With ``"series"``
            or ``"table"`` columns of text are left out.
        column: The column of texts, where its name does not tell; two with a comma between them
            are a pair.

    Raises:
        UserError: if the path is not there, or the file is not what it should be.
    """
    path = _existing(path)
    found = _parts(path, label, None if size is None else _size(size), kind, column)
    if kind is not None:
        found = _of_kind(found, kind, path)
    parts = dict(found.parts)
    if "" in parts:  # one heap: all of it is there to train on
        parts["train"] = parts.pop("")
    if "train" not in parts:
        raise UserError(f"{path} has no training rows, only {' and '.join(parts)}; add some")
    if found.notation == "smiles":
        for samples in parts.values():
            check_smiles(samples.inputs, samples.rows or ())
    labels = parts["train"].labels
    several = labels is not None and len(labels) > 0 and isinstance(labels[0], tuple)
    return make_task(
        str(path), found.kind, parts["train"], validation=parts.get("validation"),
        test=parts.get("test"), classes=label_names(label) if several else None,
        target="labels" if several else "classes", notation=found.notation, seed=seed,
    )  # fmt: skip


class _Found(NamedTuple):
    """Samples of each published split; ``""`` where there is none."""

    kind: InputKind
    parts: dict[str, Samples]
    notation: Notation = ""


@dataclass(frozen=True, eq=False, repr=False)
class Reading(Split):
    """Rows read for prediction; weight 0 where there is no label.

    Arguments:
        labels: Class name of each row that has a label; ``None`` if no row has, or a task asks for
            more than one class.
    """

    labels: tuple[str | None, ...] | None = None


def read(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], spec: TaskSpec, *,
    label: str = "label",
) -> Reading:  # fmt: skip
    """Read files for a trained program: the kinds that :func:`load_file` reads, labelled or not.

    Single images and folders of them, flat or by class; tables with or without the label column;
    UCR files and ``.ts``; an ``.npz`` (``X``, else ``X_test``, else the other parts); FASTA files;
    a ``.txt`` of one text a line. Order is kept, and texts may be longer than those met in
    training. A row is called by its file (below the folder given), by ``file:line`` in a table, or
    by the ``id`` of a table or a FASTA header.

    Arguments:
        paths: One path or several.
        spec: What the program expects. Images are resized and converted to it.
        label: The label column of a table.

    Raises:
        UserError: if a path is not there, a sample does not fit ``spec``, or a label is no class
            of it.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise UserError("no files to read; name at least one file or folder")
    found = [_existing(path) for path in given]
    # the name alone, unless that would not tell the rows apart
    plain = len(found) == 1 or len({p.name for p in found if p.is_file()}) == len(found)
    parts = [_unlabelled(path, path.name if plain else str(path), spec, label) for path in found]
    rows = tuple(row for part in parts for row in part.rows or ())
    inputs = _joined([part.inputs for part in parts])
    labels = [
        value
        for part in parts
        for value in (part.labels if part.labels is not None else [None] * len(part.inputs))
    ]
    if spec.target == "labels":
        gaps = ("",) * len(spec.classes)
        told = yes_or_no([gaps if v is None else v for v in labels], spec.classes, rows)
        return Reading(inputs, *told, rows)
    if spec.target == "tokens":
        nothing = torch.zeros(tuple(inputs.shape), dtype=torch.long)
        return Reading(inputs, nothing, nothing.float(), rows)
    labels = [class_name(value) for value in labels]
    for row, value in zip(rows, labels, strict=True):
        if value is not None and value not in spec.classes:
            raise UserError(f"row {row} has label {value!r}, which is no class of task "
                            f"{spec.name!r} ({', '.join(spec.classes)}); correct it or leave it "
                            "blank")  # fmt: skip
    labelled = [value is not None for value in labels]
    targets = [0 if value is None else spec.classes.index(value) for value in labels]
    return Reading(
        inputs,
        torch.tensor(targets),
        torch.tensor(labelled, dtype=torch.float32),
        rows,
        tuple(labels) if any(labelled) else None,
    )


def _existing(path: str | os.PathLike[str]) -> Path:
    if not os.path.exists(os.path.expanduser(path)):
        raise UserError(f"no such file or folder: {os.fspath(path)!r}")
    return Path(path).expanduser()


def _parts(
    path: Path, label: str, size: tuple[int, int] | None, kind: str | None, column: str | None
) -> _Found:
    if path.is_dir():
        files, samples = scan_classes(path)
        samples = samples._replace(inputs=read_images(files, size=size))
        found = _Found("image", {"": samples})
    else:
        _no_size(size, path)
        if suffix_of(path) == ".npz":
            return _Found(*read_arrays(path, path.name))
        found = _rows(path, label, kind, column)
        test = _sibling(path)
        if test is not None and found.parts[""].splits is None:
            other = _rows(test, label, kind, column)
            return found._replace(parts=found.parts | {"test": other.parts[""]})
    samples = found.parts[""]
    if samples.splits is None:
        return found
    parts = {part: samples.of(part) for part in ("train", "validation", "test")}
    return found._replace(parts={part: rows for part, rows in parts.items() if rows is not None})


def _rows(path: Path, label: str, kind: str | None, column: str | None) -> _Found:
    """The labelled rows of one file of texts or numbers."""
    suffix = suffix_of(path)
    if suffix in FASTA:
        return _Found("text", {"": read_fasta(path, path.name)}, "sequence")
    if suffix in LINES:
        raise UserError(f"file {path} holds texts without labels; write a .csv with the columns "
                        "text and label")  # fmt: skip
    if suffix in TABLES and not _ucr_like(path):
        table = open_table(path, path.name, label, labelled=True)
        columns = [] if kind in ("series", "table") else table.text_columns(column)
        if columns:
            notation, samples = table.texts(columns)
            return _Found("text", {"": samples}, notation)
        return _Found("series", {"": table.series()})
    return _Found("series", {"": _series(path, path.name, label, labelled=True)})


def _of_kind(found: _Found, kind: str, path: Path) -> _Found:
    """What was found, taken as ``kind``: a series of one channel may be a table."""
    if kind not in ("series", "image", "table", "text"):
        raise nearest("kind", kind, ("series", "image", "table", "text"))
    if kind == found.kind:
        return found
    if kind != "table" or found.kind != "series" or _ucr_like(path):
        raise UserError(
            f"argument 'kind' is {kind!r}, and {path} holds {found.kind} samples; drop it, or give "
            "a CSV, a TSV with a header, or (n, columns) arrays"
        )
    parts = {part: _table(samples, str(path)) for part, samples in found.parts.items()}
    return _Found("table", parts)


def _table(samples: Samples, where: str) -> Samples:
    """Series of one channel (n, 1, columns) as the rows of a table (n, columns)."""
    shape = tuple(samples.inputs.shape)
    if shape[1] != 1:
        raise UserError(f"{where} holds arrays of shape {shape}; a table is (n, columns)")
    return samples._replace(inputs=samples.inputs[:, 0])


def _ucr_like(path: Path) -> bool:
    """Whether the file is a series by its very layout."""
    suffix = suffix_of(path)
    return suffix == ".ts" or (suffix == ".tsv" and is_ucr(read_text(path)))


def _series(
    path: Path, name: str, label: str, *, labelled: bool, length: int | None = None
) -> Samples:
    if _ucr_like(path):
        return read_series(path, name, length)
    if suffix_of(path) in TABLES:
        return read_table(path, name, label, labelled=labelled)
    raise UserError(f"file {path} is of no known kind; known: {KINDS}")


def _sibling(path: Path) -> Path | None:
    """``X_TEST`` beside ``X_TRAIN``, of the same kind if there is one."""
    stem, mark, suffix = path.name.rpartition("_TRAIN")
    if not mark or not suffix.startswith("."):
        return None
    kinds = (suffix, ".tsv", ".tsv.gz", ".ts", ".ts.gz", ".csv", ".csv.gz")
    places = (path.with_name(f"{stem}_TEST{kind}") for kind in kinds)
    return next((place for place in places if place.is_file()), None)


def _unlabelled(path: Path, name: str, spec: TaskSpec, label: str) -> Samples:
    wanted, shape = spec.input.kind, spec.input.shape
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        _same_kind("image", wanted, path, spec)
        files = scan_images(path) if path.is_dir() else [path]
        rows, labels = [name], None
        if path.is_dir():
            rows = [file.relative_to(path).as_posix() for file in files]
            folders = [class_name(file.parent.name) for file in files]
            labels = folders if all(folder in spec.classes for folder in folders) else None
            if name != path.name:
                rows = [f"{name}/{row}" for row in rows]
        return Samples(read_images(files, shape=shape), labels, rows)
    if wanted == "text":
        return read_texts(path, name, spec, label)
    if suffix_of(path) in (*FASTA, *LINES):
        _same_kind("text", wanted, path, spec)
    if suffix_of(path) == ".npz":
        kind, parts = read_arrays(path, name)
        samples = next(parts[part] for part in ("", "test", "validation", "train") if part in parts)
        if wanted == "table" and kind == "series":
            kind, samples = "table", _table(samples, str(path))
        _same_kind(kind, wanted, path, spec)
        if kind == "image":
            return samples._replace(inputs=fitted(samples.inputs, shape, str(path)))
    else:
        samples = _series(path, name, label, labelled=False, length=shape[-1])
        if wanted == "table" and not _ucr_like(path):
            samples = _table(samples, str(path))
        else:
            _same_kind("series", wanted, path, spec)
    inputs = as_inputs(samples.inputs, wanted, samples.rows or (), str(path))
    if wanted == "table" and tuple(inputs.shape[1:]) != shape:
        raise UserError(f"file {path} has {inputs.shape[1]} columns, task {spec.name!r} takes "
                        f"{shape[0]}; give the same columns in the same order")  # fmt: skip
    if tuple(inputs.shape[1:]) != shape:
        raise UserError(f"file {path} holds series of shape {tuple(inputs.shape[1:])}, task "
                        f"{spec.name!r} takes {shape} (channels, length); "
                        "cut or resample them")  # fmt: skip
    return samples._replace(inputs=inputs)


def _same_kind(kind: str, wanted: str, path: Path, spec: TaskSpec) -> None:
    if kind != wanted:
        raise UserError(f"{path} holds {kind} samples, task {spec.name!r} takes {wanted} samples; "
                        "give files of that kind")  # fmt: skip


def _joined(inputs: list[Any]) -> Tensor | LazyInputs:
    if len(inputs) == 1:
        return inputs[0]
    if all(isinstance(part, Tensor) and part.dtype == torch.int32 for part in inputs):  # texts
        longest = max(part.shape[1] for part in inputs)
        inputs = [widened(part, longest) for part in inputs]
    return torch.cat([part if isinstance(part, Tensor) else part[torch.arange(len(part))]
                      for part in inputs])  # fmt: skip


def _size(size: int | str | tuple[int, int]) -> tuple[int, int]:
    sides = [size] * 2 if isinstance(size, int) else size
    if isinstance(sides, str):
        sides = (sides if "x" in sides else f"{sides}x{sides}").split("x")
    try:
        height, width = (int(side) for side in sides)
    except ValueError:
        height = width = 0
    if height < 1 or width < 1:
        raise UserError(f"argument 'size' is {size!r}; pass pixels, as 32 or '32x48' "
                        "(height x width)")  # fmt: skip
    return height, width


def _no_size(size: tuple[int, int] | None, path: Path) -> None:
    if size is not None:
        raise UserError(f"argument 'size' is for folders of images, and {path} is none; drop it")
